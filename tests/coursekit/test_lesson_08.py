"""What is special to exercise 08; test_checks_are_tested.py has what every task must pass."""

import random
from collections import Counter

import pytest
from course_answers.lesson_08.key import edf, fcfs, sjf
from course_answers.lesson_08.next_target import aimd
from course_answers.lesson_08.predict_outputs import by_rank
from support.course import answer_to

from coursekit.task import find_task, tasks_of
from coursekit.tasks.lesson_08 import key, next_target, predict_outputs

MODULES = (predict_outputs, next_target, key)


def test_the_tasks_are_in_order_and_give_100_points():
    tasks = tasks_of("08")
    assert [task.id for task in tasks] == ["08.1", "08.2", "08.3", "08.4"]
    assert sum(task.points for task in tasks) == 100


def test_what_new_requests_really_got_is_not_shown():
    task, args = find_task("08.1"), (5, 2)
    history, prompts, really, _ = predict_outputs.requests(args)
    assert task.asking.shown(args) == [history, prompts] and len(prompts) == len(really)
    got = task.drive(by_rank, args)
    assert got["asked"] == [] and task.judge(args, got) is None


@pytest.mark.parametrize("which", range(len(predict_outputs.ANSWERS)))
def test_the_bar_of_a_predictor_lies_above_every_straight_line_and_below_the_kinds(which):
    taus = {"kinds": [], "prompts": []}
    for seed in range(5):
        _, prompts, really, kinds = predict_outputs.requests((seed, which))
        taus["kinds"].append(predict_outputs.tau(kinds, really))
        taus["prompts"].append(abs(predict_outputs.tau(prompts, really)))
    assert max(taus["prompts"]) < predict_outputs.SHARE * min(taus["kinds"])


def test_a_controller_is_played_again_from_what_it_said():
    args = find_task("08.3").cases[1].args
    said = next_target.drive(aimd, args)
    left = iter(said)
    steps = next_target.play(lambda step: next(left), args)
    assert [s.said for s in steps] == said and len(steps) == 2 * next_target.STEPS
    assert next_target.judge(args, [*said[:50], 1e9, *said[51:]]).slip == "above most"


def test_the_solution_meets_all_pars_and_the_orders_that_everybody_knows_do_not():
    """With some drawn requests a plain order is good enough; with all of them only the answer is."""
    own, missed = answer_to(find_task("08.4")), Counter()
    for seed in range(4):
        args = key.generate(random.Random(seed), 8)
        par = key.pars(args)
        for order in (own, fcfs, sjf, edf):
            score = key.score(key.engine_run(order, args), args[0])
            missed[order.__name__] += any(score[name] > par[name] for name in par)
    assert missed["key"] == 0 and all(missed[order.__name__] for order in (fcfs, sjf, edf)), missed


def test_a_run_that_did_not_happen_is_not_believed():
    """The judge carries the plans out itself: times that were made up change nothing."""
    task = find_task("08.4")
    args = task.cases[0].args
    got = task.drive(fcfs, args)
    for r in got["requests"].values():
        r["finish"] = r["first_token"] = r["arrival"]
    assert "first come, first served" in task.judge(args, got).cause

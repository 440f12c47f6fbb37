"""What is special to exercise 09; test_checks_are_tested.py has what every task must pass."""

import pytest
from course_answers.lesson_09.chunked_scheduler import Chunked, Helped
from course_answers.lesson_09.largest_budget import halve
from support.course import answer_to, hunted

from coursekit.examine import DONE, caller, examine
from coursekit.task import find_task, tasks_of
from coursekit.tasks.lesson_09.cases import STREAM, TIGHT, knobs
from coursekit.tasks.lesson_09.judge import BENCH, judge
from coursekit.tasks.lesson_09.largest_budget import ASKING, enough

HUNT = find_task("09.3")
ALL_OR_NOTHING = ("n = r.num_remaining_tokens", "n = min(r.num_remaining_tokens, free)")
IF = ("if n <= free and", "if n and")
NEW_FIRST = (
    "list(self.waiting)[:room] + [r for r in self.running if not r.is_decode]",
    "[r for r in self.running if not r.is_decode] + list(self.waiting)[:room]",
)


STOP = (
    "                free -= n\n        return made",
    "                free -= n\n            else:\n                break\n        return made",
)


def test_the_tasks_are_in_order_and_give_100_points():
    tasks = tasks_of("09")
    assert [task.id for task in tasks] == ["09.1", "09.2", "09.3"]
    assert sum(task.points for task in tasks) == 100


def test_each_bug_of_the_hunt_is_named_and_all_three_must_go():
    assert "does not fit whole" in hunted(HUNT).finding.cause
    assert "does not fit whole" in hunted(HUNT, NEW_FIRST).finding.cause
    assert "Finish what is begun" in hunted(HUNT, ALL_OR_NOTHING, IF).finding.cause
    assert "which came before it, gets nothing" in hunted(HUNT, ALL_OR_NOTHING, IF, NEW_FIRST).finding.cause
    assert hunted(HUNT, ALL_OR_NOTHING, IF, NEW_FIRST, STOP).status == DONE


def test_the_mended_class_passes_the_check_of_the_first_task_too():
    """With all three bugs out it is a chunked scheduler like any other, where the cache is short as well."""
    assert examine(find_task("09.1"), caller(answer_to(HUNT), HUNT.drive)).status == DONE


@pytest.mark.parametrize("answer", [Chunked, Helped])
def test_a_right_schedule_is_that_of_the_engine(answer):
    for jobs, settings in ((STREAM, knobs(6, 4)), (STREAM, knobs(9, 3))):
        work = [[step["slices"] for step in run["steps"]] for run in runs(answer, (jobs, settings))]
        assert [sorted(s) for s in work[0]] == [sorted(s) for s in work[1]]


def runs(answer, args):
    return BENCH.drive(answer, args), BENCH.reference(args, "chunked")


def test_short_kv_makes_somebody_give_way_and_is_fair():
    args = (TIGHT, knobs(8, 4, num_blocks=3))
    run = BENCH.drive(Chunked, args)
    assert any(step["preempted"] for step in run["steps"]) and judge(args, run) is None


def test_a_halving_search_has_trials_to_spare():
    for most in (1, 2, 7, 300, 4096):
        asked = ASKING.drive(halve, ([*range(1, most + 1)], most / 3))["asked"]
        assert len(asked) <= enough(most) - 2

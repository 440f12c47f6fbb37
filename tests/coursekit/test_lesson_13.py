"""What is special to exercise 13; test_checks_are_tested.py has what every task must pass."""

import random
from contextlib import suppress

import pytest
from course_answers.lesson_13.fleet_router import RIGHT as ROUTERS
from course_answers.lesson_13.front import Mended
from course_answers.lesson_13.max_rate_under_slo import RIGHT as SEARCHES
from support.course import answer_to, hunted

from coursekit.build import stub
from coursekit.examine import DONE, caller, examine
from coursekit.task import find_task, tasks_of
from coursekit.tasks.lesson_13 import fleet_router, front
from coursekit.tasks.lesson_13.fleet import LOADS, serve
from coursekit.tasks.lesson_13.max_rate_under_slo import ASKING, NEAR, named, true_rate, true_share

HUNT = find_task("13.4")
NOT_TO_THE_DEAD = ("        self.busy[replica] = 0\n", "        self.busy[replica] = 10**9\n")
FORGETS = (
    "            self.busy[replica] -= 1\n",
    "            self.busy[replica] -= 1\n            self.working[replica].remove(name)\n",
)
GOES_ON = (
    "            orders.append([replica, name, prompt, wanted])\n",
    "            told = self.told[name]\n            orders.append([replica, name, prompt + told, wanted - len(told)])\n",
)
QUEUE_TOO = (
    "        names = self.working[replica]\n",
    "        names = self.working[replica] + self.waiting[replica]\n",
)


def test_the_tasks_are_in_order_and_give_100_points():
    tasks = tasks_of("13")
    assert [task.id for task in tasks] == ["13.1", "13.2", "13.3", "13.4"]
    assert sum(task.points for task in tasks) == 100


def test_the_bugs_of_the_hunt_are_named_one_after_the_other_and_all_must_go():
    assert "which is dead" in hunted(HUNT).finding.cause
    assert "forget who is done" in hunted(HUNT, NOT_TO_THE_DEAD).finding.cause
    assert "begins anew" in hunted(HUNT, NOT_TO_THE_DEAD, FORGETS).finding.cause
    assert "in the queue of a dead" in hunted(HUNT, NOT_TO_THE_DEAD, FORGETS, GOES_ON).finding.cause
    assert hunted(HUNT, NOT_TO_THE_DEAD, FORGETS, GOES_ON, QUEUE_TOO).status == DONE
    assert examine(HUNT, caller(answer_to(HUNT), HUNT.drive)).status == DONE


def test_without_a_death_the_printed_front_is_right():
    """So the bugs are in what happens when somebody dies, as its text says."""
    printed = answer_to(HUNT, stub)
    for seed in range(20):
        replicas, seats, arrivals, _ = front.generate(random.Random(seed), 4)
        args = replicas, seats, arrivals, []
        assert front.judge(args, front.drive(printed, args)) is None


def test_every_answer_is_heard_whole_whoever_dies():
    for seed in range(30):
        args = front.generate(random.Random(seed), 6)
        assert front.judge(args, front.drive(Mended, args)) is None


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.__name__)
@pytest.mark.parametrize("want", [0.8, 0.9, 0.95])
def test_a_right_search_is_near_the_true_rate_whatever_its_luck(search, want):
    for seed in range(20):
        args = named(0.37 * (1 + seed / 7), want, 0.1, 6.4, steep=5, seed=seed)
        assert true_share(args, true_rate(args)) == pytest.approx(want)
        got = ASKING.drive(search, args)
        assert abs(got["value"] - true_rate(args)) <= NEAR * true_rate(args)


def test_a_search_that_asks_for_what_is_no_rate_and_goes_on_is_judged_by_its_runs():
    task = find_task("13.2")

    def beyond(attainment, low, high, want):
        with suppress(LookupError):
            attainment(2 * high)
        return SEARCHES[0](attainment, low, high, want)

    assert examine(task, caller(beyond, task.drive)).status == DONE


def test_picks_that_are_not_one_a_request_are_no_answer():
    args = "chat", 3
    for picks in ([], [0] * 239, [0] * 239 + [4], ["0"] * 240):
        with pytest.raises(ValueError, match="a replica for each request"):
            fleet_router.judge(args, {"picks": picks, "bad": []})


@pytest.mark.parametrize("kind", LOADS)
def test_a_load_tells_routers_apart(kind):
    """Two right designs are far from what the load punishes, with seeds that no check uses."""
    punished = {"every fourth is long": fleet_router.one_by_one, "one hot prefix": fleet_router.sticky}
    for seed in range(2000, 2006):
        par = serve(LOADS[kind](seed), fleet_router.fewest_tokens())
        for router in ROUTERS[:2]:
            args = kind, seed
            assert fleet_router.judge(args, fleet_router.drive(router, args)) is None
        if kind in punished:
            assert serve(LOADS[kind](seed), punished[kind]()).p99() > 2 * fleet_router.SLOWER * par.p99()
        if kind == "24 prefixes":
            assert par.hits < fleet_router.HITS - 0.2


def test_a_replica_finds_a_beginning_that_it_has_computed():
    """Two requests with one beginning of 512 tokens: the second has 40 tokens left to compute, where it went there."""
    jobs = [[0, [5] * 512 + [i] * 40, 2] for i in (1, 2)]
    here, apart = (serve(jobs, lambda loads, prompt, way=way: way.pop(0)) for way in ([0, 0], [0, 1]))
    assert here.hits == 512 / 1104 and apart.hits == 0
    assert here.sent == [2, 0, 0, 0] and apart.work == [554, 554, 0, 0]

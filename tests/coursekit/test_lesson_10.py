"""What is special to exercise 10; test_checks_are_tested.py has what every task must pass."""

import pytest
from course_answers.lesson_10.prefix_cache import Cache
from course_answers.lesson_10.prefix_first import Ageing, NoPatience, Two

from coursekit.examine import DONE, caller, examine
from coursekit.task import find_task, tasks_of
from coursekit.tasks.lesson_10.model import REFUSED, SLIPS, played
from coursekit.tasks.lesson_10.prefix_first import (
    BACKLOG,
    BURST,
    PATIENT,
    STREAM,
    drive,
    knobs,
    limit_of,
    overtaken,
    tokens_computed,
)
from minieng.kv.blocks import ROOT, BlockPool, block_hash

CACHE = find_task("10.2")


class ByTheEnginesPool:
    """The cache of task 10.2 on the engine's own block pool."""

    def __init__(self, num_blocks, size):
        self.pool, self.size, self.tables = BlockPool(num_blocks), size, {}

    def admit(self, name, tokens):
        names = []
        for start in range(0, len(tokens) - self.size + 1, self.size):
            names.append(block_hash(names[-1] if names else ROOT, tokens[start : start + self.size]))
        hits = self.pool.longest_prefix(names[: (len(tokens) - 1) // self.size])
        missing = -(-len(tokens) // self.size) - len(hits)
        if missing > self.pool.num_free - sum(self.pool.refs[block] == 0 for block in hits):
            raise MemoryError
        for block in hits:
            self.pool.share(block)
        self.tables[name] = hits + [self.pool.take() for _ in range(missing)]
        for block, key in zip(self.tables[name][len(hits) :], names[len(hits) :]):
            self.pool.publish(block, key)
        return len(hits) * self.size

    def finish(self, name):
        self.pool.release(self.tables.pop(name))
        self.pool.check_invariants(list(self.tables.values()))


def test_the_tasks_are_in_order_and_give_100_points():
    tasks = tasks_of("10")
    assert [task.id for task in tasks] == ["10.1", "10.2", "10.3"]
    assert sum(task.points for task in tasks) == 100


@pytest.mark.parametrize("seed", ["public", 1, 2])
def test_the_check_asks_for_what_the_engines_own_pool_does(seed):
    assert examine(CACHE, caller(ByTheEnginesPool, CACHE.drive), seed).status == DONE


@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_changes_an_answer(slip):
    """What never shows on any call needs no words."""
    calls = [case.args for case in CACHE.cases] + CACHE.random_cases("slips")
    assert any(played(*made, operations, slip) != played(*made, operations) for made, operations in calls)


def test_a_refused_admit_is_a_memory_error_and_nothing_else_happens():
    cache = Cache(2, 2)
    assert cache.admit("a", [1, 2, 3]) == 0
    with pytest.raises(MemoryError):
        cache.admit("b", [1, 2, 9])
    cache.finish("a")
    assert cache.admit("b", [1, 2, 9]) == 2
    operations = [["admit", "a", [1, 2, 3]], ["admit", "b", [1, 2, 9]], ["finish", "a"], ["admit", "b", [1, 2, 9]]]
    assert played(2, 2, operations) == [0, REFUSED, None, 2]


def test_longest_prefix_first_lets_somebody_be_overtaken_and_two_designs_do_not():
    for jobs, patience in ((STREAM, 0.1), (BACKLOG, 0.05)):
        args = (jobs, knobs(1, 14), patience)
        assert overtaken(drive(NoPatience, args), patience)
        for design in (Two, Ageing):
            assert overtaken(drive(design, args), patience) is None


def test_a_burst_leaves_room_between_the_target_and_the_order_of_arrival():
    limit, _ = limit_of(repr(BURST), repr(knobs(1, 8)))
    args = (BURST, knobs(1, 8), PATIENT)
    assert tokens_computed(drive(Two, args)) <= 0.9 * limit

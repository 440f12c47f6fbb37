"""What is special to exercise 12; test_checks_are_tested.py has what every task must pass."""

import pytest
from course_answers.lesson_12.bubble_share import by_recurrence
from course_answers.lesson_12.transfers import posted_first, transfers_send_first
from support.course import answer_to, hunted

from coursekit.examine import DONE, caller, examine
from coursekit.task import find_task, tasks_of
from coursekit.tasks.lesson_12.bubble_share import idle, leaves
from coursekit.tasks.lesson_12.micro_batches import GOOD, LOADS, served, sweep
from coursekit.tasks.lesson_12.transfers import carried_out

HUNT = find_task("12.3")
RECEIVES = (
    "            self.active[name] = token\n",
    "            self.active[name] = token\n        self.active.update(message)\n",
)
SENDS_WHAT_CAME = (
    "        outputs = {name: self.compute(value) for name, value in self.active.items()}\n        self.active.update(outputs)\n",
    "        outputs = {name: self.compute(value) for name, value in self.active.items()}\n        self.active.clear()\n",
)
FEEDS_BACK = (RECEIVES[1], RECEIVES[1].replace("(message)", "({**message, **feedback})"))


def test_the_tasks_are_in_order_and_give_100_points():
    tasks = tasks_of("12")
    assert [task.id for task in tasks] == ["12.1", "12.2", "12.3", "12.4"]
    assert sum(task.points for task in tasks) == 100


def test_the_bugs_of_the_hunt_are_named_one_after_the_other_and_all_must_go():
    assert "works on what it receives" in hunted(HUNT).finding.cause
    assert "sent again" in hunted(HUNT, RECEIVES).finding.cause
    assert "the first stage computes it next" in hunted(HUNT, RECEIVES, SENDS_WHAT_CAME).finding.cause
    assert "one more is asked for" in hunted(HUNT, RECEIVES, SENDS_WHAT_CAME, FEEDS_BACK).finding.cause
    assert examine(HUNT, caller(answer_to(HUNT), HUNT.drive)).status == DONE


@pytest.mark.parametrize("batches", [1, 2, 3, 8])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_lists_that_hang_come_to_no_end_and_others_do(batches, depth):
    both = [
        [posted_first(rank, batches, depth) for rank in (0, 1)],
        [transfers_send_first(rank, batches, depth) for rank in (0, 1)],
    ]
    ends = [carried_out(lists) == [len(each) for each in lists] for lists in both]
    assert ends == [True, batches == 1 or depth == 1]


def test_a_batch_of_a_group_waits_for_the_one_before_it():
    """Two ways to compute it: the judge's, and an answer's."""
    for order in ("XYXY", "XXY", "XYZX", "X"):
        times = [[1 + i, 2, 3] for i, _ in enumerate(order)]
        assert idle(times, leaves(order, times)) == pytest.approx(by_recurrence(order, times))


@pytest.mark.parametrize("name", LOADS)
def test_a_load_tells_settings_apart(name):
    """As many groups as stages are best by far, and so is a budget between the smallest and what is too large for a limit."""
    rows, stages = sweep(name), LOADS[name][2]
    best = max(rows, key=lambda budget: rows[budget][0])
    for groups in (1, 2 * stages):
        assert served(name, groups, best)[0] < GOOD * rows[best][0]
    assert rows[64][0] < GOOD * rows[best][0] and rows[64][1] < rows[best][1] <= rows[2048][1]

"""What is special to exercise 11; test_checks_are_tested.py has what every task must pass."""

import itertools
import time

import pytest
from course_answers.lesson_11.best_buckets import all_pairs
from course_answers.lesson_11.best_buckets import padding as padded
from course_answers.lesson_11.paged_decode import online
from support.course import hunted

from coursekit.examine import DONE, caller, examine
from coursekit.task import find_task
from coursekit.tasks.lesson_11.best_buckets import least, padding
from coursekit.tasks.lesson_11.paged import GUARD, MISTAKES, addresses, attention, make, slots
from coursekit.tasks.lesson_11.paged_decode import attempt, shape

KERNEL, HUNT = find_task("11.1"), find_task("11.4")
NEW_LIST = ("self.tokens = [token", "self.tokens[:] = [token")
NUMBER = ("longest = max(self.lengths)", "longest = self.most")
SLOT_0 = (
    "for _, table in batch] + [0] * empty\n        self.lengths",
    "for _, table in batch] + [-1] * empty\n        self.lengths",
)
needs_triton = pytest.mark.skipif(bool(KERNEL.lacks), reason=KERNEL.lacks)


def test_each_bug_of_the_hunt_is_named_and_all_three_must_go():
    assert "list of tokens" in hunted(HUNT, NUMBER, SLOT_0).finding.cause
    assert "noted by its value" in hunted(HUNT, NEW_LIST, SLOT_0).finding.cause
    assert "wrote a 0 into slot 0" in hunted(HUNT, NEW_LIST, NUMBER).finding.cause
    for two in itertools.combinations((NEW_LIST, NUMBER, SLOT_0), 1):
        assert hunted(HUNT, *two).status != DONE
    assert hunted(HUNT, NEW_LIST, NUMBER, SLOT_0).status == DONE


@needs_triton
def test_the_check_of_the_kernel_takes_less_than_ten_seconds_of_computing():
    begin = time.process_time()
    assert examine(KERNEL, caller(online, KERNEL.drive)).status == DONE
    assert time.process_time() - begin < 10


def test_attention_in_numpy_is_that_of_torch():
    import torch
    import torch.nn.functional as F

    for args in [case.args for case in KERNEL.cases]:
        made = make(*args)
        right = attention(made)
        for row, n in enumerate(made["lengths"]):
            at = addresses(made, slots(made, row, range(n)), range(made["kv_heads"]))
            q, k, v = (
                torch.tensor(x).double() for x in (made["q"][row][:, None], *(made[name][at].swapaxes(0, 1) for name in "kv"))
            )
            plain = F.scaled_dot_product_attention(q, k, v, scale=made["scale"], enable_gqa=True)[:, 0]
            assert torch.allclose(torch.tensor(right[row]), plain, atol=1e-9)


def test_no_slot_has_two_owners_and_a_wrong_address_stays_in_the_guard():
    made = make([24, 3, 1], shape(4, 2, 16, 8))
    held = [slot for row, n in enumerate(made["lengths"]) for slot in slots(made, row, range(n))]
    assert len(held) == len(set(held))
    furthest = addresses(made, [max(held) + made["size"]], [made["heads"]]).max()
    assert GUARD <= furthest < len(made["k"])


def test_every_mistake_of_the_kernel_differs_on_one_of_the_cases():
    for _, slip, way in MISTAKES:
        cases = [make(*case.args) for case in KERNEL.cases]
        assert any(
            abs(attempt(made, way) - attention(made)).max() > 0.01 or (attempt(made, way) != attempt(made, way)).any()
            for made in cases
        ), slip


@pytest.mark.parametrize("counts", list(itertools.product([0], [0, 1, 3], [0, 2], [0, 1, 5], [1, 2])))
def test_the_fewest_padding_rows_are_those_of_all_choices(counts):
    for graphs in range(1, len(counts)):
        best = all_pairs(list(counts), graphs)
        assert least(counts, graphs) == padding(counts, best) == padded(counts, best)

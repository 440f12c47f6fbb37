"""What is special to exercise 04; test_checks_are_tested.py has what every task must pass."""

from coursekit.task import tasks_of


def test_the_tasks_are_in_order():
    assert [task.id for task in tasks_of("04")] == sorted(task.id for task in tasks_of("04"))

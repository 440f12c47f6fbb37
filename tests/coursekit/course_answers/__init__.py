"""Wrong and right answers to each task: the tests of the checks themselves.

A file is a task, as in coursekit/tasks: ``lesson_NN/<task>.py`` holds WRONG = [(answer, words of its diagnosis), ...]
with at least five, and RIGHT = [answer, ...] with at least two that are designed differently.
"""

"""Wrong and right answers to each task: the tests of the checks themselves.

Each `lesson_NN.py` holds WRONG = {task id: [(function, words of its diagnosis), ...]} with at least five,
and RIGHT = {task id: [function, ...]} with at least two that are designed differently.
"""

"""Answers to the tasks of exercise 13."""

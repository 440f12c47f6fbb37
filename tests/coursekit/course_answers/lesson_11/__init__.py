"""Answers to the tasks of exercise 11."""

"""Answers to the tasks of exercise 08."""

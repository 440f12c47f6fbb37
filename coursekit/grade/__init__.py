"""Grading a folder of submissions. The parent judges; learner code runs only in a child inside a sandbox."""

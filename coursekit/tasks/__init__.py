"""One folder a lesson, one file a task: the words, the cases and the judges of the exercises."""

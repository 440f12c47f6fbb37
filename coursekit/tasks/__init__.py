"""One module a lesson, `lesson_NN.py`: the words, the cases and the judges of its exercise."""

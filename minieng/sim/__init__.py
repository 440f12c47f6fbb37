"""Hardware that is not here: step times from a formula, on virtual time, under the same scheduler objects."""

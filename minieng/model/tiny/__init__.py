"""`tiny`: a story model of half a million parameters, with the grammar and the script that made it."""

"""``python -m tools.site``: the course as a static site, from the stored outputs. Nothing of a notebook is executed."""

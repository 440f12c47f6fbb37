"""Tensors in, tensors out: attention, matrix products and what lies between them, each in the way that is fastest here."""

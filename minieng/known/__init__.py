"""What transformers said of a model, kept so that the next start need not import it."""

from __future__ import annotations

from .facts import Known, keep, recall
from .tokenizer import PlainTokenizer

__all__ = ["Known", "PlainTokenizer", "keep", "recall"]

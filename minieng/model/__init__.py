"""Models: what a paper shows (decoder, weights, adapter), and what carries a plan out (runner, graphs, sampler, load)."""

from ..hub.resolve import resolve

__all__ = ["resolve"]

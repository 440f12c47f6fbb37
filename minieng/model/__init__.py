"""Models: finding them (loader), computing them (decoder, adapter, attention, linear), and running plans on them."""

from .loader import resolve

__all__ = ["resolve"]

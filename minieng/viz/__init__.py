"""Pictures of traces. Each is one call, returns a ``Picture``, and describes itself in words."""

from .timeline import compare, timeline

__all__ = ["compare", "timeline"]

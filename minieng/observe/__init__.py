"""What happened: one plain record a step (trace), and what it was worth (metrics)."""

from .latency import Latency
from .metrics import Metrics, ladder_table, table

__all__ = ["Latency", "Metrics", "ladder_table", "table"]

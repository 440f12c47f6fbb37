"""What happened: one plain record a step (record, trace, trace_file), and what it was worth (metrics)."""

from .capacity import highest_rate, share_good
from .latency import Latency
from .metrics import Metrics, ladder_table, table
from .record import StepRecord
from .trace import Trace
from .trace_file import TraceError

__all__ = [
    "Latency",
    "Metrics",
    "StepRecord",
    "Trace",
    "TraceError",
    "highest_rate",
    "ladder_table",
    "share_good",
    "table",
]

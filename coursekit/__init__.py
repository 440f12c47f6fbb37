"""The course's machinery: check, hint, predict, progress for a learner; build and grade for a teacher.

In a notebook: ``from coursekit import check, hint, predict, reveal, progress, solved``.
Importing it is light: no numpy, no torch, nothing that needs a network. It knows nothing of the engine's inside.
"""

from .checking import check, solved
from .guesses import predict, reveal
from .hints import hint
from .progress import export_progress, import_progress, progress

__all__ = ["check", "solved", "hint", "predict", "reveal", "progress", "export_progress", "import_progress"]


def __getattr__(name: str) -> str:
    """The version, which is minieng's; asked for late, as a learner's `import coursekit` does not load the engine."""
    if name == "__version__":
        import minieng

        return minieng.__version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

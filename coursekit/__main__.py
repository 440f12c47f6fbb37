"""``python -m coursekit`` is the command ``coursekit``."""

from .cli import main

raise SystemExit(main())

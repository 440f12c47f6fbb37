"""``python -m minieng`` is ``minieng``."""

from .cli import main

raise SystemExit(main())

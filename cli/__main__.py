"""``python -m aiotask_cli`` is ``aiotask``."""

from __future__ import annotations

from .main import main

if __name__ == "__main__":
    main()

"""``python -m aiotask_cli`` is ``aiotask``."""

from __future__ import annotations

from .start import main

if __name__ == "__main__":
    main()

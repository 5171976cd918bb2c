"""``python -m aiotask`` is the command ``aiotask``."""

from __future__ import annotations

import runpy

# The library does not know its command line; only this door leads there, by name.
if __name__ == "__main__":
    runpy.run_module("aiotask_cli", run_name="__main__")

"""``python -m aiotask`` is the command ``aiotask``."""

from __future__ import annotations

import runpy

# By name: the library does not import its command line anywhere.
if __name__ == "__main__":
    runpy.run_module("aiotask_cli", run_name="__main__")

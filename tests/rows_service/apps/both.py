"""An app with rows and tasks."""

from __future__ import annotations

import os
from pathlib import Path

from ..shop import Shop

shop = Shop(os.environ["TEST_APP"], os.environ["TEST_DATABASE"], Path(os.environ["TEST_FOLDER"]), tasks=True)
app = shop.app

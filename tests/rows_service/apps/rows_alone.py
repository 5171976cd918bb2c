"""An app with rows and no tasks."""

from __future__ import annotations

import os
from pathlib import Path

from ..shop import Shop

shop = Shop(os.environ["TEST_APP"], os.environ["TEST_DATABASE"], Path(os.environ["TEST_FOLDER"]))
app = shop.app

if "TEST_CONNECTS" in os.environ:
    with app.session() as session:
        session.get(shop.Plain, 1)

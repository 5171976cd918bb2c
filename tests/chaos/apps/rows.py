"""The app of the trials of rows: it has no tasks, and its database is ``CHAOS_DATABASE``."""

from __future__ import annotations

import os

from aiotask import App

from .work import Async as Async
from .work import Left as Left
from .work import Plain as Plain
from .work import serve

app = App(os.environ["CHAOS_APP"], url=os.environ["CHAOS_URL"], database=os.environ["CHAOS_DATABASE"])
serve(app)

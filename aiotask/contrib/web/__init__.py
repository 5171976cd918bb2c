"""The dashboard: what ``aiotask web`` serves, and an ASGI app to mount into one's own.

It needs the extra ``aiotask[web]``: starlette, jinja2 and uvicorn.
"""

from __future__ import annotations

from ...ops.visitors import ACTS, READS, Visitor
from .access import Local, Proxied, Users
from .dashboard import dashboard
from .settings import Settings

__all__ = ["ACTS", "READS", "Local", "Proxied", "Settings", "Users", "Visitor", "dashboard"]

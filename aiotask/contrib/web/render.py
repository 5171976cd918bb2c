"""Templates, and the files of the page: each under an address that changes with its content."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, PackageLoader

from ...ops.views import marks
from . import text
from .charts import spark

__all__ = ["Asset", "assets", "environment", "static_hash"]

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """One file of the page."""

    type: str
    content: bytes
    zipped: bytes


@cache
def assets() -> dict[str, Asset]:
    """The files by name; only these are served."""
    found: dict[str, Asset] = {}
    root = files(__package__) / "static"
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for file in folder.iterdir():
            kind = _TYPES.get(f".{file.name.rpartition('.')[2]}")
            if kind is not None and file.is_file():
                content = file.read_bytes()
                found[prefix + file.name] = Asset(kind, content, gzip.compress(content, 9, mtime=0))
    return found


@cache
def static_hash() -> str:
    digest = hashlib.sha256()
    for name, asset in sorted(assets().items()):
        digest.update(name.encode() + asset.content)
    return digest.hexdigest()[:12]


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(text.FILTERS, spark=spark)
    made.globals["marks"] = marks
    return made

"""Forms: what was sent with them, and messages that a page shows once."""

from __future__ import annotations

import base64
import time
from urllib.parse import parse_qsl, urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from ...errors import SealError
from ...ops.views.fields import Fields, Said
from ...wire.seal import Sealer
from .guard import FORM_BYTES

__all__ = ["read_form", "read_said", "safe_path", "seal_said"]

#: Fields of a form at most: a page has 200 rows.
_FIELDS = 1_000
#: Seconds for which a message is shown under its address.
_SHOWN = 300.0


async def read_form(request: Request) -> Fields:
    """The fields of a form.

    Raises:
        HTTPException: it is none, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send a form: application/x-www-form-urlencoded.")
    too_large = HTTPException(413, f"A form holds at most {FORM_BYTES // 1024} kB. Select fewer jobs, or use a filter.")
    try:
        body = await request.body()
    except ClientDisconnect:
        raise too_large from None
    if len(body) > FORM_BYTES:
        raise too_large
    try:
        return Fields(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise HTTPException(400, f"A form has at most {_FIELDS:,} fields.") from None


def safe_path(path: str, usual: str) -> str:
    """A path on this site to go back to; ``usual`` if it leads elsewhere."""
    is_here = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    if not is_here or len(path) > 2000:
        return usual
    parts = urlsplit(path)
    return path if not parts.scheme and not parts.netloc else usual


# ---- messages: sealed, so that no link of others can put words on a page


def seal_said(said: Said, secrets: tuple[str, ...]) -> str:
    packed = msgspec.msgpack.encode((said.ok, said.text[:1000], int(time.time())))
    return base64.urlsafe_b64encode(Sealer(secrets, "web message").seal(packed)).decode().rstrip("=")


def read_said(text: str, secrets: tuple[str, ...]) -> Said | None:
    """The message in an address; None: there is none, it is old, or somebody else made it."""
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        ok, words, at = msgspec.msgpack.decode(Sealer(secrets, "web message").open(sealed), type=tuple[bool, str, int])
    except (ValueError, SealError, msgspec.MsgspecError):
        return None
    return Said(ok, words) if 0 <= time.time() - at + 5 < _SHOWN else None

"""``/audit``: what people have done."""

from __future__ import annotations

from ....brokers.bounds import AUDIT_LINES
from ....ops.audit import read_audit
from ..view import View
from .shown import Shown

__all__ = ["audit"]


async def audit(view: View) -> Shown:
    lines = await read_audit(view.place, AUDIT_LINES)
    text, verb, ended = (view.asked(name) for name in ("q", "verb", "ended"))
    found = [
        line
        for line in lines
        if verb in ("", line["verb"])
        and ended in ("", line["ended"])
        and text.casefold() in f"{line['who']} {line['subject']} {line['said']} {line['source']}".casefold()
    ]
    start = view.number("after", 0, AUDIT_LINES) if view.asked("after") else 0
    following = str(start + view.rows) if len(found) > start + view.rows else ""
    data = {
        "title": "Audit",
        "lines": found[start : start + view.rows],
        "after": following,
        "verbs": sorted({line["verb"] for line in lines}),
        "endings": sorted({line["ended"] for line in lines}),
        "total": len(lines),
        "q": text,
        "verb": verb,
        "ended": ended,
    }
    return Shown("audit.html", data)

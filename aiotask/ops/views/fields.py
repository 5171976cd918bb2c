"""What was filled in before an action, and what became of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Fields", "Said"]


class Said(NamedTuple):
    """What became of an action, in sentences for the one who asked for it."""

    ok: bool
    text: str


class Fields(NamedTuple):
    """The fields of a form: ``on`` says what the action is done to, ``name`` or ``id`` which one."""

    fields: list[tuple[str, str]]

    def get(self, name: str, most: int = 200) -> str:
        """The last value of a field; empty: there is none, or it is too long."""
        found = next((value for key, value in reversed(self.fields) if key == name), "").strip()
        return found if len(found) <= most else ""

    def all(self, name: str, most: int = 200) -> list[str]:
        """The values of a field, each once; those that are too long are left out."""
        return list(dict.fromkeys(value for key, value in self.fields if key == name and 0 < len(value) <= most))

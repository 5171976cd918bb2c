"""What was filled in before an action, and what became of it."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import ConfigError

__all__ = ["Fields", "Said", "bounded"]


class Said(NamedTuple):
    """What became of an action, in sentences for the one who asked for it."""

    ok: bool
    text: str


class Fields(NamedTuple):
    """The fields of a form: ``on`` says what the action is done to, ``name`` or ``id`` which one."""

    fields: list[tuple[str, str]]

    @property
    def back(self) -> str:
        """The address of the page from which the form was sent, of whatever length; empty: it does not say."""
        return next((value for key, value in reversed(self.fields) if key == "back"), "")

    def get(self, name: str, most: int = 300) -> str:
        """The last value of a field; empty: there is none.

        Raises:
            ConfigError: it is longer than ``most`` characters.
        """
        return bounded(name, next((value for key, value in reversed(self.fields) if key == name), ""), most)

    def all(self, name: str, most: int = 300) -> list[str]:
        """The values of a field that are not empty, each once.

        Raises:
            ConfigError: one is longer than ``most`` characters.
        """
        return list(dict.fromkeys(bounded(name, value, most) for key, value in self.fields if key == name and value))


def bounded(name: str, value: str, most: int) -> str:
    """What was given, without blanks around it. A filter that is too long is an error: without it, a list or an action
    would be about more than was meant.

    Raises:
        ConfigError: it is longer than ``most`` characters.
    """
    found = value.strip()
    if len(found) > most:
        raise ConfigError(f"Nothing was done: {name} has {len(found):,} characters. Give {most:,} at most.")
    return found

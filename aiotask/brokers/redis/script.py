"""The scripts that run on the server: each is sent with the parts of ``scripts/lib`` that it needs in front."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import cache
from pkgutil import get_data

from .keys import CONSTANTS

__all__ = ["Script", "compose_scripts", "load_scripts", "script"]

_FOLDERS = ("", "lib/")
_COMMENT = re.compile(rb"^[ ]*--.*\n|[ ]+--.*|^\n", re.MULTILINE)
_INDENT = re.compile(rb"^[ ]+", re.MULTILINE)
_WORD = re.compile(rb"\w+")
_DEFINED = re.compile(rb"local (?:function )?([\w, ]+)")
#: What only batches with unique jobs need, and the part that it needs.
_UNIQUE = re.compile(rb"^ *-- unique: begin\n.*?-- unique: end\n|(?<=special) unique$", re.MULTILINE | re.DOTALL)
_NEEDS = re.compile(rb"^-- Needs:(.*)$", re.MULTILINE)


class Script:
    """A Lua script, behind the constants and definitions that it uses; called by its digest, and sent in full when the
    server does not know it."""

    def __init__(self, name: str) -> None:
        texts = load_scripts()
        parts = b"".join(map(_bare, map(texts.__getitem__, _parts(texts[name], texts))))
        code = _bare(texts[name])
        code = _used(parts, code) + code
        self.source = _constants(code) + _INDENT.sub(b"", code)
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


@cache
def script(name: str) -> Script:
    """The script of this name, composed once in a process and its forks."""
    return Script(name)


def compose_scripts() -> None:
    """Compose every script now: what a process has before it forks, its children share."""
    for name in load_scripts():
        if "/" not in name:
            script(name)


@cache
def load_scripts() -> dict[str, bytes]:
    """The text of every script and part, read once, so that a process goes on with the scripts of its own release
    when another release is installed over it."""
    texts = {
        f"{folder}{name.removesuffix('.lua')}": get_data(__package__, f"scripts/{folder}{name}") or b""
        for folder in _FOLDERS
        for name in _names(folder)
        if name.endswith(".lua")
    }
    texts["push_unique"] = texts["push_special"]
    texts["push_special"] = _UNIQUE.sub(b"", texts["push_special"])
    return texts


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(os.path.join(os.path.dirname(__file__), "scripts", folder))
    except OSError:
        # The package is inside an archive.
        from importlib.resources import files

        return [each.name for each in (files(__package__) / "scripts" / folder).iterdir()]


def _bare(text: bytes) -> bytes:
    """The text without its comments, which the server would keep in memory."""
    return _COMMENT.sub(b"", text)


def _needs(text: bytes) -> list[str]:
    """The parts that a script or a part names in its head comment."""
    named = _NEEDS.search(text)
    return [f"lib/{part.decode()}" for part in named[1].split()] if named else []


def _parts(code: bytes, texts: dict[str, bytes]) -> Iterable[str]:
    """The parts that the code needs, directly or through another part; each comes after those that it needs."""
    ordered: dict[str, None] = {}
    for part in _needs(code):
        ordered |= dict.fromkeys([*_parts(texts[part], texts), part])
    return ordered


def _constants(code: bytes) -> bytes:
    """The constants that the code uses, as definitions."""
    words = set(map(bytes.decode, _WORD.findall(code)))
    used = [(name, value) for name, value in CONSTANTS.items() if name in words]
    return b"".join(f"local {name} = {value!r}\n".encode() for name, value in used)


def _used(parts: bytes, code: bytes) -> bytes:
    """The definitions that the code uses, directly or not: the server evaluates each on every call, in about 0.2 us."""
    words = set(_WORD.findall(code))
    used: list[bytes] = []
    # A definition uses those above it.
    for definition in reversed(re.split(rb"^(?=local )", parts, flags=re.MULTILINE)):
        names = _DEFINED.match(definition)
        if names and not words.isdisjoint(_WORD.findall(names[1])):
            words.update(_WORD.findall(definition))
            used.append(definition)
    return b"".join(reversed(used))

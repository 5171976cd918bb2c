"""What messages about brokers have in common: URLs without their password, and what to do without an answer."""

from __future__ import annotations

import re

__all__ = ["NO_ANSWER", "hide_password"]

#: The end of every error about a broker that does not answer.
NO_ANSWER = "Is the server running, and is the URL right? `aiotask doctor` checks both."

_IN_QUERY = re.compile(r"([?&](?:ssl)?password=)[^&#]*")


def hide_password(url: str) -> str:
    """The URL without its password, also where an ``@`` or ``/`` in it is not escaped as it should be."""
    head, at, rest = url.rpartition("@")
    scheme, separator, login = head.partition("://")
    user, colon, _ = login.partition(":")
    if colon and not login.startswith("/"):
        url = f"{scheme}{separator}{user}:***{at}{rest}"
    # A function: for a template `re` imports a module, which it cannot at the end of the interpreter.
    return _IN_QUERY.sub(lambda found: f"{found[1]}***", url)

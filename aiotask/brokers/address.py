"""The URL of an app's broker, and the secrets that seal its messages."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ..errors import ConfigError
from ..settings import environment
from . import check_url, is_private
from .shown import hide_password

__all__ = ["Address"]


class Address:
    """URL and secrets, found at first use: as given, else from the environment, else the embedded server's.

    Args:
        url: as given to the app.
        secret: as given to the app.
    """

    def __init__(self, url: str | None, secret: str | None) -> None:
        self._url = None if url is None or url == "" else check_url(url)
        self._secret = secret
        self._lock = threading.RLock()
        self._found: tuple[str, tuple[str, ...]] | None = None

    @property
    def given(self) -> str:
        """The URL that the app or the environment names, with its password; empty: neither names one."""
        return self._url or environment("URL") or ""

    @property
    def embedded(self) -> bool:
        """Whether the broker is the embedded server."""
        return not self.given

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return hide_password(self.locate()[0])

    def locate(self) -> tuple[str, tuple[str, ...]]:
        """URL and secrets; starts the embedded server where no URL is given, and logs that once.

        Raises:
            ConfigError: the URL can be reached from other machines and there is no secret, or there is no URL and this
                is a test run.
            BrokerError: the embedded server does not come up.
        """
        with self._lock:
            if self._found is None:
                url = self.given
                if url:
                    url = check_url(url)
                    self._found = (url, _secrets_for(url, hide_password(url), self._secret))
                else:
                    self._found = self._embedded()
            return self._found

    def _embedded(self) -> tuple[str, tuple[str, ...]]:
        from ..embedded import server as embedded

        embedded.refuse_in_tests()
        server = embedded.ensure()
        if server.started:
            logging.getLogger("aiotask").warning("%s", embedded.announce(server))
        secret = self._secret or environment("SECRET") or server.secret
        return server.url, _secrets_for(server.url, server.url, secret)

    def result_db_path(self) -> Path | None:
        """The history file: ``$AIOTASK_RESULT_DB``, else beside the embedded server's data, else none."""
        given = environment("RESULT_DB")
        if given:
            return Path(given).expanduser()
        if self.embedded:
            from ..embedded.server import state_directory

            return state_directory() / "results.db"
        return None


def _secrets_for(url: str, shown: str, secret: str | None) -> tuple[str, ...]:
    """The secrets to seal with, first the current one (``new,old`` during a rotation).

    Raises:
        ConfigError: the address can be reached from other machines and there is no secret.
    """
    given = secret or environment("SECRET")
    if given:
        if not isinstance(given, str):
            raise ConfigError(f"secret must be text, not of type {type(given).__qualname__}.")
        secrets = tuple(part.strip() for part in given.split(",") if part.strip())
        if not secrets:
            raise ConfigError("The secret (AIOTASK_SECRET, or App(secret=…)) holds only blanks and commas.")
        return secrets
    if not is_private(url):
        raise ConfigError(
            f'The broker "{shown}" can be reached from other machines, so jobs must be sealed. Set the same secret for '
            "every client and worker: AIOTASK_SECRET=$(python -c 'import secrets; print(secrets.token_hex(32))'), "
            "or App(secret=…)."
        )
    return ("",)

"""What the keeper records the finished jobs of an app with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..brokers import history_of
from ..errors import ConfigError
from .app_facts import AppFacts, connect_to

if TYPE_CHECKING:
    from ..brokers.history import History
    from ..history.recorder import Recorder

__all__ = ["recorder_of"]

logger = logging.getLogger("aiotask.keeper")


def recorder_of(app: AppFacts) -> tuple[Recorder | None, History | None]:
    """The recorder of an app, and the broker that it reads; None and None: no history is recorded, or it cannot be."""
    if not app.result_db:
        return None, None
    from ..history.recorder import Recorder

    try:
        recorder = Recorder(
            Path(app.result_db), app.secrets, app.name, max_age=app.result_db_age, max_bytes=app.result_db_size
        )
        return recorder, history_of(connect_to(app))
    except ConfigError as error:
        logger.error("History is not being recorded: %s", error)
        return None, None

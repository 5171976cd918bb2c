"""The page for people who come from Celery names every setting of Celery, and no setting that Celery does not have."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "from-celery.md"
#: The names of all settings of Celery 5.7.0.
SETTINGS = (ROOT / "tests" / "celery_settings.txt").read_text().split()


def named() -> set[str]:
    """What stands in the first column of the table of settings, with ``*`` for several."""
    table = PAGE.read_text().split("## Settings")[1].split("\n## ")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    return set(re.findall(r"`([a-z0-9_*]+)`", " ".join(first)))


def test_every_setting_of_celery_has_its_place() -> None:
    assert len(SETTINGS) == 207

    missing = [name for name in SETTINGS if not any(fnmatchcase(name, pattern) for pattern in named())]

    assert not missing


def test_no_setting_is_named_that_celery_does_not_have() -> None:
    # Keys inside of broker_transport_options.
    parts = {"visibility_timeout", "priority_steps", "queue_order_strategy", "global_keyprefix"}

    unknown = [name for name in named() - parts if not any(re.match(translate(name), each) for each in SETTINGS)]

    assert not unknown

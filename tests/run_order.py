"""The order of files in a test run: with ``-n``, a long file that begins last would be waited for by idle processes."""

from __future__ import annotations

__all__ = ["LONGEST", "place_of"]

#: The files that take the longest, those first that take most; `tests/test_house.py` checks that they exist.
LONGEST = (
    "tests/test_readme.py",
    "tests/chaos/test_chaos.py",
    "tests/browser/test_story.py",
    "tests/test_packaging.py",
    "tests/test_leftovers.py",
    "tests/acceptance/test_schedules.py",
    "tests/top/test_views.py",
    "tests/test_examples.py",
    "tests/acceptance/g_worker/test_failures.py",
    "tests/acceptance/test_t_streams.py",
    "tests/top/test_hostile.py",
    "tests/acceptance/g_calls/test_accept.py",
    "tests/outbox/test_relay.py",
    "tests/acceptance/test_metrics.py",
    "tests/rows_service/test_server.py",
    "tests/rows_service/test_service.py",
    "tests/top/test_acts.py",
    "tests/contrib/test_django.py",
    "tests/acceptance/test_limits.py",
    "tests/outbox/test_rows_alone.py",
    "tests/rows/test_processes.py",
    "tests/rows_service/test_misuse.py",
    "tests/rows_service/test_deaths.py",
    "tests/measured/test_server.py",
    "tests/test_cli_docs.py",
    "tests/test_stopped.py",
    "tests/test_mixed_fleet.py",
    "tests/test_several_apps.py",
    "tests/recovery/test_hosts.py",
    "tests/cli/test_demo.py",
    "tests/bad_input/test_commands.py",
)
_PLACES = {file: place for place, file in enumerate(LONGEST)}


def place_of(file: str) -> int:
    """Files with a lower number begin first; all that are not listed have the same.

    Args:
        file: path below the root of the project, with slashes.
    """
    return _PLACES.get(file, len(LONGEST))

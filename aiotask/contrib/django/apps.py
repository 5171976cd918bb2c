"""The application for ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["AiotaskConfig"]


class AiotaskConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """``"aiotask.contrib.django"`` in ``INSTALLED_APPS``."""

    name = "aiotask.contrib.django"
    label = "aiotask"
    verbose_name = "aiotask"

"""Numbers of bytes in words."""

from __future__ import annotations

__all__ = ["in_bytes"]


def in_bytes(count: int) -> str:
    """A number of bytes as ``1.5 GB``."""
    amount = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"

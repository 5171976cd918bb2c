"""Whether worker processes can use a database: what no waiting would mend is refused before the first claim."""

from __future__ import annotations

import os

from ..brokers.sql.database import Database
from ..errors import ConfigError

__all__ = ["check_database"]

#: File systems of other machines, on which SQLite's locks and its shared memory do not work.
_REMOTE = frozenset(
    {"afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)


def check_database(database: Database, *, mounts: str = "/proc/self/mounts") -> None:
    """Check a database as far as that needs no server: one that does not answer is waited for.

    Raises:
        ConfigError: the driver is not installed, or the file of SQLite cannot be opened, is no database, or lies on a
            network disk.
    """
    if not database.is_sqlite:
        return
    path = os.path.realpath((database.engine.url.database or "").removeprefix("file:").partition("?")[0])
    if (system := _file_system(path, mounts)) in _REMOTE:
        raise ConfigError(
            f'The database "{path}" lies on a network disk ({system}), where SQLite loses locks and writes. Put the '
            "file on a disk of this machine, or use PostgreSQL."
        )
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT name FROM sqlite_master LIMIT 1")
    except Exception as error:
        reason = getattr(error.__cause__ or error, "orig", error)
        # A lock will be released.
        if "locked" not in str(reason):
            raise ConfigError(
                f'The database "{path}" cannot be opened: {reason}. Name an SQLite file that this user may read and '
                "write, or one that does not exist yet in such a folder."
            ) from error
    finally:
        database.dispose()


def _file_system(path: str, mounts: str) -> str:
    """The type of the file system of a path; empty where that is not known."""
    best, found = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, folder, kind, *_ = line.split(" ")
                folder = folder.replace("\\040", " ").rstrip("/")
                # A later mount hides an earlier one in the same place.
                if (path == folder or path.startswith(f"{folder}/")) and len(folder) >= len(best):
                    best, found = folder, kind
    except (OSError, ValueError):
        return ""
    return found

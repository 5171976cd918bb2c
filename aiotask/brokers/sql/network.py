"""Whether a folder is on a network disk, as far as the system tells."""

from __future__ import annotations

from pathlib import Path

__all__ = ["network_of"]

#: Where Linux lists what is mounted: device, place, kind. Elsewhere nothing is told.
MOUNTS = Path("/proc/self/mounts")
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "fuse.sshfs"})


def network_of(folder: Path) -> str:
    """The kind of network disk that a folder is on; empty: it is on none, or that is not known."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    path = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 2:
            # A space in a name is written as an octal number.
            place = Path(fields[1].replace("\\040", " "))
            if path.is_relative_to(place) and len(place.parts) > best:
                best, kind = len(place.parts), fields[2]
    return kind if kind in _NETWORK else ""

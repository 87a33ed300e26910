"""What to say of a file that could not be written: which one, why, and, of a full disk, which disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from decentralized.errors import StorageError

_ADVICE = {
    errno.ENOENT: "Its folder is gone: start the run again, or move it back and resume the run.",
    errno.EFBIG: "Allow larger files: `ulimit -f`, or the limits of the service or container.",
}


def storage_error(action: str, path: Path, error: OSError) -> StorageError:
    """`action`: what could not be done, such as "write"."""
    disk = _disk(path) if error.errno == errno.ENOSPC else ""
    what = f"could not {action} {path}: {error.strerror or error}{disk}"
    return StorageError(what, _ADVICE.get(error.errno or 0, ""))


def _disk(path: Path) -> str:
    """The disk of a path, and what is left there: a file can be too large for it, or one too many."""
    if not hasattr(os, "statvfs"):
        return ""
    try:
        mount = path.absolute().parent
        while not os.path.ismount(mount):
            mount = mount.parent
        disk = os.statvfs(mount)
    except OSError:
        return ""
    free, all_ = (blocks * disk.f_frsize / 1e6 for blocks in (disk.f_bavail, disk.f_blocks))
    files = ", and no room for another file" if disk.f_files and not disk.f_favail else ""
    return f" (the disk at {mount} has {free:.1f} of {all_:.1f} MB free{files})"

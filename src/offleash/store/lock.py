"""One process at a time: a lock on a folder that ends with its process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path

from offleash.core import InputError


def lock(folder: Path, name: str, doing: str) -> int:
    """The handle of the lock; it is held until the handle is closed or the process ends.

    Args:
        folder: what is locked.
        name: of the lock's file in it.
        doing: what another process that holds it is doing, for the message.

    Raises:
        InputError: another process holds it, or the folder cannot be written or locked.
    """
    import fcntl

    path = folder / name
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another --out") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        who = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise InputError(
            f"{folder}: another process (pid {who}) is {doing}; wait for it or choose another --out"
        ) from error
    except OSError as error:
        os.close(handle)
        raise InputError(f"{folder}: this disk cannot lock files ({error.strerror}); choose another --out") from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle

"""Files that appear whole or not at all, and the errors of a disk said in one line."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offleash.core import InputError, OffleashError

TMP = ".tmp"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename is lost in a power cut until its folder is synced)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write every byte: `os.write` may take only a part, and on a full disk takes a part before it fails."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def atomic_write(path: Path, data: bytes) -> None:
    """Write `path` durably: another name, fsync, rename, fsync of the folder.

    Raises:
        OffleashError: the disk is full or not writable; `path` is as it was before.
    """
    partial = path.with_name(path.name + TMP)
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        # An empty partial file frees the space; where even that fails, the next writer removes it.
        try:
            partial.unlink(missing_ok=True)
        except OSError as second:
            error.add_note(f"and {partial} could not be removed: {second}")
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> OffleashError:
    """One line for a write that the system refused."""
    return OffleashError(
        f"{path}: cannot be written ({error.strerror or error}); everything written before it is intact: "
        "mend that and run the same command again to go on"
    )


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        InputError: a file is in the way, or the place is not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot make this folder ({error.strerror or error}); choose another place"
        ) from error


def require_writable(path: Path) -> None:
    """Refuse a folder that cannot be made or written to; makes nothing.

    Raises:
        InputError: a file is in the way, or the place is not writable.
    """
    try:
        place = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
        os.scandir(place).close()
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"--out: cannot write into {path} ({error.strerror}); choose another folder") from error


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON with NaN and infinities as null, numpy and torch scalars as plain numbers."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if not isinstance(value, (str, int, type(None))) and hasattr(value, "item"):
        return _plain(value.item())
    return value


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: no such file, or no JSON object in it; `mend` says what to do.
    """
    try:
        content = json.loads(path.read_bytes().decode())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {mend}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {mend}") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); {mend}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a JSON {type(content).__name__}, not an object; {mend}")
    return content

"""Which checkpoints of a run are complete, and whether their files are as they were written. No torch.

Complete is read from the state file and the weights' headers, in no time; `damage` reads every byte, before a run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

STATE = "training_state.json"
CHECKSUMS = "checksums.json"
_NAME = re.compile(r"step_(\d+)")


def latest(folder: Path) -> Path | None:
    """The complete checkpoint `step_N` of the highest step in this folder; None where there is none."""
    return next(iter(all_complete(folder)), None)


def all_complete(folder: Path) -> list[Path]:
    """The complete checkpoints in this folder, the newest first."""
    return [path for step, path in all_named(folder) if complete(path, step)]


def all_named(folder: Path) -> list[tuple[int, Path]]:
    """Every `step_N` of this folder with its step, the newest first, complete or not."""
    if not folder.is_dir():
        return []
    named = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(named, reverse=True)


def write_checksums(path: Path) -> None:
    """Write the checksum of every file of a checkpoint beside them."""
    sums = {str(file.relative_to(path)): _checksum(file) for file in sorted(path.rglob("*")) if file.is_file()}
    (path / CHECKSUMS).write_text(json.dumps(sums, indent=1))


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's files, or "" where all are as they were written (or were written without checksums)."""
    try:
        sums: dict[str, str] = json.loads((path / CHECKSUMS).read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{CHECKSUMS} cannot be read ({error})"
    for name, expected in sums.items():
        try:
            if _checksum(path / name) != expected:
                return f"{name} is not as it was written (checksum)"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return ""


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]


def complete(path: Path, step: int) -> bool:
    """Whether a checkpoint has a state that names this step, and weights, none of them truncated."""
    try:
        state = json.loads((path / STATE).read_bytes())
        if not isinstance(state, dict) or state.get("step") != step:
            return False
        weights = sorted(path.glob("*.safetensors"))
        return all(map(_whole, weights)) and bool(weights or any(path.rglob("*.distcp")))
    except (OSError, ValueError):
        return False


def _whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says: 8 bytes of length, the JSON header, the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            return False
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))

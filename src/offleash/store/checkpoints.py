"""Which checkpoints of a run are complete: read from their names, state file and weights' headers, without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path

STATE = "training_state.json"
_NAME = re.compile(r"step_(\d+)")


def latest(folder: Path) -> Path | None:
    """The complete checkpoint `step_N` of the highest step in this folder; None where there is none."""
    if not folder.is_dir():
        return None
    named = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return next((path for step, path in sorted(named, reverse=True) if complete(path, step)), None)


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

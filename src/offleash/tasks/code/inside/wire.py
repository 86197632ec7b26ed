"""Frames over a pipe, and values that travel between a candidate and its judge: plain builtins, rebuilt on arrival.

Nothing that arrives can carry behaviour: a subclass of `list` with an `__eq__` of its own arrives as a list.
"""

from __future__ import annotations

import json
import os
from typing import Any

MAX_FRAME = 4_000_000
"""Bytes of one frame; a candidate that sends more has failed."""
_JSON_INT = 2**63


class WireError(Exception):
    """What arrived is no frame, too long, or no value; or a value cannot be sent."""


def send(fd: int, payload: bytes) -> None:
    """Write one frame: eight bytes of length, then the payload."""
    data = memoryview(len(payload).to_bytes(8, "little") + payload)
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, limit: int = MAX_FRAME) -> bytes | None:
    """The next frame, or None where the pipe ends before it.

    Raises:
        WireError: it announces more than `limit` bytes, or breaks off.
    """
    head = _exactly(fd, 8)
    if not head:
        return None
    size = int.from_bytes(head, "little")
    if len(head) < 8 or size > limit:
        raise WireError(f"an answer of more than {limit} bytes" if len(head) == 8 else "an answer that breaks off")
    body = _exactly(fd, size)
    if len(body) < size:
        raise WireError("an answer that breaks off")
    return body


def _exactly(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, min(size, 1 << 16))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pack(value: Any) -> bytes:
    """A value of plain builtins as bytes; values of their subclasses as those of the builtin.

    Raises:
        WireError: it holds something else, is nested too deeply or too large.
    """
    try:
        data = json.dumps(_tagged(value)).encode()
    except (RecursionError, MemoryError, ValueError) as error:
        raise WireError(f"a value that cannot be sent ({type(error).__name__})") from None
    if len(data) > MAX_FRAME:
        raise WireError(f"a value of more than {MAX_FRAME} bytes")
    return data


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -_JSON_INT < number < _JSON_INT else {"int": hex(number)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            return {name: [_tagged(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_tagged(k), _tagged(v)] for k, v in dict.items(value)]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise WireError(f"a value of type {type(value).__name__}, which cannot be compared")


_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def unpack(data: bytes) -> Any:
    """The value; every part of it is exactly of a builtin type.

    Raises:
        WireError: the bytes are no value.
    """
    try:
        return _plain(json.loads(data))
    except (RecursionError, MemoryError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise WireError(f"an answer that cannot be read ({type(error).__name__})") from None


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise WireError("an answer that cannot be read (list)")
        return value
    ((name, body),) = value.items()
    if name in _SEQUENCES:
        return _SEQUENCES[name](_plain(item) for item in body)
    if name == "dict":
        return {_plain(k): _plain(v) for k, v in body}
    if name == "bytes":
        return bytes.fromhex(body)
    if name == "complex":
        return complex(*body)
    if name == "int":
        return int(body, 16)
    raise WireError("an answer that cannot be read (tag)")

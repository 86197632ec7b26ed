"""One sandbox for all tests of this folder; where namespaces are not allowed they are skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from offleash.tasks.code import Limits, Sandbox, unavailable


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if reason := unavailable():
        pytest.skip(reason)
    made = Sandbox(Limits(cpu_seconds=1, wall_seconds=30.0, memory_bytes=256 << 20))
    yield made
    made.close()

"""A store survives being killed at any moment: the next call completes it, and nobody can tell that it was killed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filler
import numpy as np
import pyarrow.parquet as pq
import pytest

from offleash.core import InputError, OffleashError
from offleash.store import Store

SHAPE = {"count": 20, "n": 12, "batch": 12}
ALL = "SELECT problem_id, index, text, token_ids, logprobs FROM samples ORDER BY problem_id, index"


class Forks:
    """Children of `filler.py` run as a script."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self.server = server

    def start(self, **request: Any) -> int:
        """Begin to fill in a new process; its pid."""
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(
            json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in request.items()}) + "\n"
        )
        return int(self.server.stdout.readline())

    def end(self) -> int:
        """Wait for it; its exit code, negative for the signal that ended it."""
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write("end\n")
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    command = [sys.executable, filler.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as server:
        yield Forks(server)
    assert server.returncode == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("whole") / "s"
    filler.run(path, **SHAPE)
    return Store.open(path)


def files(path: Path) -> int:
    """Everything in the store, half-written files too."""
    return sum(len(names) for _, _, names in os.walk(path))


def rows_on_disk(path: Path) -> int:
    return sum(pq.read_metadata(part).num_rows for part in (path / "samples").glob("*.parquet"))


def assert_same(store: Store, whole: Store) -> None:
    """Exactly n samples of every problem, none on disk twice, the same texts, the same verdicts."""
    assert rows_on_disk(store.path) == rows_on_disk(whole.path)
    assert store.sql(ALL).equals(whole.sql(ALL))
    assert store.counts("base") == whole.counts("base")
    assert store.bad_parts() == [] and list(store.path.rglob("*.tmp")) == []


def live(forks: Forks, path: Path, generator: np.random.Generator) -> int:
    """Fill until a few files have appeared and a random moment more, then SIGKILL; returns how the process ended."""
    enough = files(path) + int(generator.integers(0, 4))
    pid = forks.start(path=path, pause=0.01, **SHAPE)
    end = time.monotonic() + 60
    while files(path) < enough and not Path(f"{path}.done").exists():
        assert time.monotonic() < end
        time.sleep(0.0005)
    time.sleep(generator.uniform(0.0, 0.012))
    os.kill(pid, signal.SIGKILL)
    return forks.end()


@pytest.mark.slow
def test_killed_at_random_moments(forks: Forks, whole: Store, tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    killed, stores, midway = 0, 0, 0
    while killed < 12:  # on a machine that lets a process finish before it is killed, more than one store is filled
        path, depths, ended = tmp_path / str(stores), [0], -signal.SIGKILL
        stores += 1
        while ended == -signal.SIGKILL and killed < 12:
            ended = live(forks, path, generator)
            killed += ended == -signal.SIGKILL
            if (path / "store.json").is_file():  # whatever is there can be read at any moment
                store = Store.open(path)
                assert store.bad_parts() == []
                depths.append(store.sql("SELECT * FROM samples").num_rows)
        assert depths == sorted(depths), "what was on disk is lost"
        midway += sum(0 < depth < 240 for depth in depths)
        assert forks.start(path=path, **SHAPE) and forks.end() == 0
        assert_same(Store.open(path), whole)
    assert midway >= 3


class Death(BaseException):
    """Ends the process as far as the disk can see: no code that handles errors runs."""


def die_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> Callable[[], int]:
    """Raise Death in place of the `moment`-th write, sync or rename (half of a write is done); returns the count so far."""
    seen = 0

    def deadly(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == moment:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Death
            return real(*args)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, deadly(name, getattr(os, name)))
    return lambda: seen


@pytest.mark.slow
def test_killed_at_every_write_sync_and_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"count": 2, "n": 3, "batch": 6}
    with monkeypatch.context() as patch:
        count = die_at(patch, -1)
        filler.run(tmp_path / "whole", **shape)
        moments = count()
    assert moments >= 4 * 6  # store, model, sampler, problems, samples, verdicts: write, sync, rename, sync
    whole = Store.open(tmp_path / "whole")
    for moment in range(1, moments + 1):
        path = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            die_at(patch, moment)
            with pytest.raises(Death):
                filler.run(path, **shape)
        filler.run(path, **shape)
        assert_same(Store.open(path), whole)


@pytest.mark.slow
def test_sigint_leaves_a_usable_store(forks: Forks, whole: Store, tmp_path: Path) -> None:
    path = tmp_path / "s"
    pid = forks.start(path=path, pause=0.01, **SHAPE)
    while files(path / "verdicts") < 3:
        time.sleep(0.0005)
    os.kill(pid, signal.SIGINT)
    assert forks.end() == 130
    store = Store.open(path)
    counts = store.counts("base")
    assert 0 < len(counts) < 20 and store.bad_parts() == []
    assert {row.id: row for row in counts if row.unverified == 0}.items() <= {
        r.id: r for r in whole.counts("base")
    }.items()
    with store.writer():
        pass  # the lock is free
    filler.run(path, **SHAPE)
    assert_same(Store.open(path), whole)


def test_a_second_writer_is_refused_while_the_first_lives(forks: Forks, whole: Store, tmp_path: Path) -> None:
    path = tmp_path / "s"
    pid = forks.start(path=path, pause=0.05, **SHAPE)
    while files(path / "samples") < 2:  # one may be half-written
        time.sleep(0.0005)
    with pytest.raises(InputError, match=rf"{path}: another process \(pid {pid}\) is writing"):
        filler.run(path, **SHAPE)
    assert Store.open(path).sql("SELECT * FROM samples").num_rows > 0  # reading is not refused
    os.kill(pid, signal.SIGKILL)
    forks.end()
    filler.run(path, **SHAPE)
    assert_same(Store.open(path), whole)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("moment", [1, 2, 9])
def test_a_full_disk_is_one_clear_error(
    call: str, moment: int, whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen, real = tmp_path / "s", 0, getattr(os, call)
    filler.run(path, **{**SHAPE, "n": 1})

    def full(handle: int, *rest: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen >= moment:
            if call == "write":  # as a disk does: it takes what still fits, then refuses
                real(handle, bytes(rest[0])[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OffleashError, match=r"cannot be written.*No space left on device") as caught:
            filler.run(path, **SHAPE)
    assert "\n" not in str(caught.value) and not isinstance(caught.value, InputError)
    store = Store.open(path)
    assert store.bad_parts() == [] and len(store.counts("base")) == 20
    assert list(path.rglob("*.tmp")) == []
    filler.run(path, **SHAPE)
    assert_same(Store.open(path), whole)

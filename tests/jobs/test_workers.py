"""A crew that is stopped: by a SIGINT to the parent alone, by a second one, by Ctrl-C in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offleash.jobs import stopping
from offleash.store import RunFolder

RECIPE = """
steps: 5000
task: {levels: [3]}
rollout: {num_prompts: 4, num_generations: 4, max_completion_length: 24}
checkpoint_every: 5000
"""


def demo(tmp_path: Path) -> subprocess.Popen[str]:
    """The demo with two endless trainings, in a process group of its own."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(RECIPE)
    arms = [(name, str(tmp_path / f"{name}.yaml")) for name in ("a", "b")]
    code = (
        "from offleash.cli.main import main\nfrom offleash.jobs import demo\n"
        f"demo.SHORT = demo.Plan('t', tuple(demo.ArmPlan(*arm) for arm in {arms!r}), (('s', 3, 2),), 4, 1)\nmain()"
    )
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "demo")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_steps(folder: Path, process: subprocess.Popen[str]) -> None:
    logs = [folder / "runs" / name / "metrics.jsonl" for name in ("a", "b")]
    end = time.monotonic() + 200
    while not all(log.is_file() and len(log.read_bytes().splitlines()) >= 2 for log in logs):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["parent", "group"])
def test_sigint_saves_a_checkpoint_of_the_last_step(to: str, tmp_path: Path) -> None:
    process = demo(tmp_path)
    wait_for_steps(tmp_path / "demo", process)
    (os.kill if to == "parent" else os.killpg)(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert [line for line in errors.splitlines() if " s  train " not in line] == [
        "offleash: interrupted; what was finished is on disk, the same command goes on from there"
    ]
    for name in ("a", "b"):
        run = RunFolder.open(tmp_path / "demo" / "runs" / name)
        assert run.latest_checkpoint() == run.checkpoint_dir(len(run.metrics()))
        assert run.events()[-1]["kind"] == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_a_second_sigint_ends_it_at_once_without_a_traceback(pause: float, tmp_path: Path) -> None:
    process = demo(tmp_path)
    wait_for_steps(tmp_path / "demo", process)
    for _ in range(3):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(pause)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if " s  train " not in line] == [
        "offleash: interrupted; what was finished is on disk, the same command goes on from there"
    ]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as a worker, until the test ends."""
    monkeypatch.setattr(stopping, "_told", False)
    before = signal.getsignal(signal.SIGTERM)
    stopping.obey()
    yield
    signal.signal(signal.SIGTERM, before)


def test_work_is_interrupted_as_by_sigint(worker: None) -> None:
    with pytest.raises(KeyboardInterrupt), stopping.obeying():
        signal.raise_signal(signal.SIGTERM)


def test_an_idle_worker_begins_nothing_more(worker: None) -> None:
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopping.obeying():
        pytest.fail("it begins")


def test_what_is_started_while_sigint_is_blocked_does_not_hear_it() -> None:
    code = "import signal; signal.raise_signal(signal.SIGINT); print('alive')"
    with stopping.sigint_blocked():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

"""A run folder: its logs survive kills and full disks, a resume leaves no trace of what came after the checkpoint."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rows import problem, sample, verdict

from offleash.core import InputError, OffleashError
from offleash.store import RunFolder

RECIPE = "steps: 3\nname: ünï\n"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", RECIPE, {"kind": "train", "objective": "grpo"})


def test_create_then_open(run: RunFolder) -> None:
    again = RunFolder.open(str(run.path))
    assert (again.recipe_text(), again.info()) == (RECIPE, {"kind": "train", "objective": "grpo"})
    assert (again.metrics(), again.timings(), again.events(), again.latest_checkpoint()) == ([], [], [], None)
    assert sorted(path.name for path in run.path.iterdir()) == ["recipe.yaml", "run.json"]


def test_create_refuses_a_folder_that_holds_something(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"holds another run; choose another folder, or go on with it by --resume"):
        RunFolder.create(run.path, RECIPE, {})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(recipe.yaml\)"):
        RunFolder.create(mine, RECIPE, {})
    assert (mine / "recipe.yaml").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", RECIPE, {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.mkdir(), "holds no run"),
        (lambda p: (p.mkdir(), (p / "run.json").write_text('{"schema"')), "not valid JSON"),
        (lambda p: (p.mkdir(), (p / "run.json").write_text('{"schema": 7}')), "schema 7"),
    ],
)
def test_open_refuses_what_is_no_run(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "r")
    with pytest.raises(InputError, match=message) as caught:
        RunFolder.open(tmp_path / "r")
    assert str(tmp_path / "r") in str(caught.value)


def test_a_killed_creation_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):
        pass

    def attempt(path: Path, moment: int) -> bool:
        seen = 0

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal seen
                seen += 1
                if seen == moment:
                    raise Death
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("write", "fsync", "replace", "unlink"):
                patch.setattr(os, name, deadly(getattr(os, name)))
            try:
                RunFolder.create(path, RECIPE, {"a": 1})
            except Death:
                return False
        return True

    moment = 1
    while not attempt(tmp_path / str(moment), moment):
        path = tmp_path / str(moment)
        run = RunFolder.open(path) if (path / "run.json").is_file() else RunFolder.create(path, RECIPE, {"a": 1})
        assert (run.recipe_text(), run.info()) == (RECIPE, {"a": 1})
        moment += 1
    assert moment > 10


# ------------------------------------------------------------------------------------------------ logs


def test_lines_come_back_with_nan_as_null(run: RunFolder) -> None:
    run.append_metrics(
        {
            "step": 1,
            "reward": np.float32(0.5),
            "kl": math.nan,
            "grad_norm": math.inf,
            "n": np.int64(3),
            "ok": np.bool_(True),
        }
    )
    run.append_metrics(
        {"step": 2, "deep": {"1": {"value": np.float64("nan")}, "list": (1.5, -math.inf)}, "text": "é\n"}
    )
    run.append_timings({"step": 1, "rollout_s": 0.1})
    run.append_event({"step": 1, "kind": "probe"})
    assert run.metrics() == [
        {"step": 1, "reward": 0.5, "kl": None, "grad_norm": None, "n": 3, "ok": True},
        {"step": 2, "deep": {"1": {"value": None}, "list": [1.5, None]}, "text": "é\n"},
    ]
    assert (run.timings(), run.events()) == ([{"step": 1, "rollout_s": 0.1}], [{"step": 1, "kind": "probe"}])
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and all(json.loads(line) for line in lines) and "NaN" not in "".join(lines)


def test_floats_come_back_exactly(run: RunFolder) -> None:
    values = [0.1, 1 / 3, 1e-300, 123456789.123456789, -0.0]
    run.append_metrics({"step": 1, "values": values})
    assert [repr(v) for v in run.metrics()[0]["values"]] == [repr(v) for v in values]


@pytest.mark.parametrize("cut", [1, 2, 10, 19])
def test_a_truncated_last_line_is_left_out_counted_and_mended(run: RunFolder, cut: int) -> None:
    for step in (1, 2):
        run.append_metrics({"step": step, "t": "é" * 5})
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = RunFolder.open(run.path)
    kept = [1, 2] if cut == 1 else [1]  # without its newline alone the line is whole
    assert [row["step"] for row in again.metrics()] == kept
    assert again.truncated() == {"metrics": int(cut > 1), "timings": 0, "events": 0}
    again.append_metrics({"step": 3})
    assert [row["step"] for row in again.metrics()] == [*kept, 3]
    assert again.truncated()["metrics"] == 0


def test_zeros_at_the_end_of_a_log_are_a_truncated_line(run: RunFolder) -> None:
    run.append_metrics({"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(bytes(100))
    assert RunFolder.open(run.path).metrics() == [{"step": 1}] and run.truncated()["metrics"] == 1


def test_a_broken_line_in_the_middle_is_named(run: RunFolder) -> None:
    (run.path / "events.jsonl").write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"events\.jsonl:2: not a JSON object; delete this line"):
        run.events()


def test_truncate_after_drops_what_came_later(run: RunFolder) -> None:
    p = problem(1)
    for step in (1, 2, 3, 4):
        run.append_metrics({"step": step, "x": math.nan})
        run.append_timings({"step": step})
        run.append_event({"step": step, "kind": "probe"})
        run.add_samples(step, [sample(p, step)])
        run.add_verdicts(step, [verdict(sample(p, step))])
    run.append_event({"kind": "note"})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "x"')
    (run.path / "samples" / "notes.parquet").write_bytes((run.path / "samples" / "step_00000001.parquet").read_bytes())
    resumed = RunFolder.open(run.path)
    resumed.truncate_after(2)
    for rows in (resumed.metrics(), resumed.timings()):
        assert [row["step"] for row in rows] == [1, 2]
    assert [row.get("step") for row in resumed.events()] == [1, 2, None]
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == [
        "notes.parquet", "step_00000001.parquet", "step_00000002.parquet",
    ]  # fmt: skip
    assert resumed.verdicts().column("index").to_pylist() == [1, 2]
    resumed.append_metrics({"step": 3})
    run.append_metrics({"step": 4})
    assert [row["step"] for row in RunFolder.open(run.path).metrics()] == [1, 2, 3, 4]
    resumed.truncate_after(0)
    assert (resumed.metrics(), resumed.timings(), resumed.events()) == ([], [], [{"kind": "note"}])


def test_truncate_after_on_a_new_run_does_nothing(run: RunFolder) -> None:
    run.truncate_after(0)
    assert sorted(path.name for path in run.path.iterdir()) == ["recipe.yaml", "run.json"]


def test_a_full_disk_while_logging_is_one_clear_error(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.append_metrics({"step": 1})
    real = os.write

    def full(handle: int, data: Any) -> int:
        real(handle, bytes(data)[:7])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for write in (lambda: run.append_metrics({"step": 2}), lambda: run.write_json("summary.json", {})):
            with pytest.raises(OffleashError, match=r"cannot be written \(No space left on device\)") as caught:
                write()
            assert "\n" not in str(caught.value)
    assert run.metrics() == [{"step": 1}] and run.truncated()["metrics"] == 1
    run.append_metrics({"step": 2})
    assert run.metrics() == [{"step": 1}, {"step": 2}]
    assert not list(run.path.glob("summary*"))


# ------------------------------------------------------------------------------------------------ files


def test_samples_and_verdicts_of_steps(run: RunFolder) -> None:
    p = problem(1)
    assert run.samples().num_rows == run.verdicts().num_rows == 0
    for step in (10, 9):
        run.add_samples(step, [sample(p, step), sample(p, step + 100)])
    run.add_samples(9, [sample(p, 9)])  # the step was repeated after a resume
    assert run.samples().column("index").to_pylist() == [9, 10, 110]
    bad = run.path / "samples" / "step_00000009.parquet"
    bad.write_bytes(b"")
    with pytest.raises(InputError, match=rf"{bad}: truncated .* delete this file, then resume the run"):
        run.samples()


def test_write_json_is_plain_and_stays_inside(run: RunFolder) -> None:
    assert run.write_json("summary.json", {"x": math.nan, "path": "é"}) == run.path / "summary.json"
    assert json.loads((run.path / "summary.json").read_text()) == {"x": None, "path": "é"}
    for name in ("../x.json", "a/b.json", "x.txt", "", "run.json"):
        with pytest.raises(InputError, match="is not a plain file name"):
            run.write_json(name, {})


def checkpoint(run: RunFolder, step: int, *, state: Any = None, weights: bytes | None = None) -> Path:
    """What the trainer writes: safetensors with one tensor of 8 bytes, and the state."""
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ).encode()
    folder = run.checkpoint_dir(step)
    folder.mkdir(parents=True)
    content = len(header).to_bytes(8, "little") + header + bytes(8) if weights is None else weights
    (folder / "model.safetensors").write_bytes(content)
    (folder / "training_state.json").write_text(json.dumps({"step": step} if state is None else state))
    return folder


def test_the_latest_checkpoint_is_the_highest_complete_one(run: RunFolder) -> None:
    assert run.checkpoint_dir(20) == run.path / "checkpoints" / "step_20"
    checkpoint(run, 5)
    good = checkpoint(run, 20)
    whole = (good / "model.safetensors").read_bytes()
    checkpoint(run, 21, state={})
    checkpoint(run, 22, state={"step": 21})
    (checkpoint(run, 23) / "training_state.json").write_text('{"step"')
    (checkpoint(run, 24) / "training_state.json").unlink()
    for step, weights in enumerate((whole[:-1], whole + b"x", b"", whole[:20], b"\xff" * 40), start=30):
        checkpoint(run, step, weights=weights)
    (checkpoint(run, 40) / "model.safetensors").unlink()
    checkpoint(run, 99).rename(run.path / "checkpoints" / "step_99.tmp")
    run.checkpoint_dir(100).mkdir()
    (run.path / "checkpoints" / "step_101").write_text("a file")
    assert run.latest_checkpoint() == good


def test_a_sharded_checkpoint_counts(run: RunFolder) -> None:
    folder = checkpoint(run, 3)
    (folder / "model.safetensors").unlink()
    (folder / "model").mkdir()
    (folder / "model" / "__0_0.distcp").write_bytes(b"x")
    assert run.latest_checkpoint() == folder

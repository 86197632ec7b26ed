"""Reading one model's solutions by another: against sampling, and against adding up every solution."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from offleash import nn, tasks
from offleash.core import InputError
from offleash.jobs import likelihood, sample
from offleash.jobs.sides import Selection
from offleash.store import SampleRow, Store, VerdictRow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("likelihood") / "store"
    sample.run(model="base", task="countdown", level=3, n=64, problems=12, out=path, label="base", as_json=True)
    return path


def test_a_model_under_itself_is_what_was_sampled(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    result = likelihood.run(f"{store}#base", f"{store}#base", exact=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == result
    own = {r.id: r for r in Store.open(store).counts("base")}
    spread, difference = 0.0, 0.0
    for row in result["problems"]:
        c, n = own[row["id"]].c, own[row["id"]].n
        assert row["estimate"] == pytest.approx(c / n, rel=1e-3, abs=1e-9)  # every weight is 1
        assert row["bound"] <= row["exact"] + 1e-9
        spread += row["exact"] * (1 - row["exact"]) / n
        difference += row["exact"] - c / n
    # Texts with brackets or spaces are not listed; this base hardly writes them.
    assert abs(difference) < 4 * math.sqrt(spread)
    assert result["summary"]["solved_by_b_never_by_a"] == 0


def test_log_probs_of_completions_are_those_of_sampling(store: Path) -> None:
    opened = Store.open(store)
    rows = opened.rows("base", tokens=True).to_pylist()[:40]
    model, tokenizer = nn.load("base")
    prompts = {s.problem.id: s.problem.prompt for s in opened.problems()}
    for row in rows:
        prompt, ids = list(tokenizer(prompts[row["problem_id"]])["input_ids"]), tuple(row["token_ids"])
        found = likelihood.logprobs(model, prompt, [ids], 1.0)
        assert found[ids] == pytest.approx(row["logprob"], abs=1e-3)


def test_the_table_names_what_was_never_sampled(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "id": "p" * 32, "bound": 1e-3, "estimate": 2e-3, "standard_error": 1e-3, "effective_samples": 2.0, "exact": None,
        "distinct": 2, "a": {"c": 0, "n": 64}, "b": {"n": 64}, "draws_for_one_half": 692.8,
    }  # fmt: skip
    summary = {"problems": 1, "solved_by_b": 1, "mean_exact": None, "mean_sampled_by_a": 0.0}
    text = likelihood.text_of({"a": "base", "b": "GRPO", "summary": summary, "problems": [row]})
    assert "1.00e-03" in text and "693 draws" in text and "0 of 64 samples" in text


@pytest.mark.parametrize(
    ("a", "b", "selection", "message"),
    [
        ("{store}#base", "{store}#nobody", Selection(), "nobody"),
        ("{store}", "{store}#base", Selection(), "give STORE#LABEL"),
        ("{store}#base", "{store}#base", Selection(level=9), "no correct sample"),
        ("counts.jsonl", "{store}#base", Selection(), "give STORE#LABEL"),
    ],
)
def test_bad_input(store: Path, a: str, b: str, selection: Selection, message: str) -> None:
    with pytest.raises(InputError, match=message):
        likelihood.run(a.format(store=store), b.format(store=store), selection=selection)


def unverified(path: Path, level: int) -> Store:
    """Two countdown problems with two samples each, as `base` would have written them."""
    task = tasks.get("countdown")
    made = Store.create(path)
    chosen = [task.generate(("unverified", i), level, "test") for i in range(2)]
    with made.writer() as writer:
        writer.add_model({"id": "m" * 64, "label": "base", "path": str(path / "gone")})
        sampler = writer.add_sampler({"temperature": 1.0})
        writer.add_problems(chosen, [0.1, 0.1])
        keys = [("m" * 64, p.id, j, 0, sampler) for p in chosen for j in range(2)]
        writer.add_samples([SampleRow(*k, "1+2", (1, 2), (-1.0, -1.0), (0.5, 0.5), "stop") for k in keys])
    return made


def test_samples_without_a_verdict_are_called_unverified(tmp_path: Path) -> None:
    side = f"{unverified(tmp_path / 's', 3).path}#base"
    with pytest.raises(InputError, match="4 of its samples are unverified and none has a verdict"):
        likelihood.run(side, side)


def test_what_cannot_be_listed_is_refused_before_weights_are_loaded(tmp_path: Path) -> None:
    """Seven numbers; the weights do not even exist."""
    made = unverified(tmp_path / "s", 7)
    rows = made.sql("SELECT model, problem_id, index, seed, sampler FROM samples").to_pylist()
    with made.writer() as writer:
        writer.add_verdicts([VerdictRow(*r.values(), "v1", r["index"] == 0, 1.0, "3", "number", "") for r in rows])
    side = f"{made.path}#base"
    with pytest.raises(InputError, match=r"--exact: numbers: 7 of them; .* at most 6; leave it out, or choose easier"):
        likelihood.run(side, side, exact=True)


def test_other_weights_than_were_sampled(store: Path) -> None:
    record = next((store / "models").glob("*.json"))
    changed = json.loads(record.read_text()) | {"id": "0" * 64, "label": "other"}
    (store / "models" / f"{'0' * 64}.json").write_text(json.dumps(changed))
    try:
        with pytest.raises(InputError, match="are not those that were sampled"):
            likelihood.run(f"{store}#other", f"{store}#base")
    finally:
        (store / "models" / f"{'0' * 64}.json").unlink()

"""The guard's demonstration: plain GRPO loses pass@256 of the base, the same run with a guard keeps it.

    .venv/bin/python -m pytest tests/jobs/test_guard_proof.py --run-proofs      (about 20 minutes on two idle cores)

Written to docs/results/guard.json: what the guard did and why, and both comparisons with the base on 200 test problems.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "guard.json"
RECIPES = {"grpo": "recipes/countdown/grpo.yaml", "guarded": "recipes/countdown/guarded.yaml"}


def holds(result: dict[str, Any]) -> None:
    """What is claimed of the two runs."""
    plain, guarded = result["grpo"]["difference"], result["guarded"]["difference"]
    assert plain["256"]["high"] < 0, "plain GRPO lost nothing: there is nothing to guard"
    assert guarded["256"]["low"] < 0 < guarded["256"]["high"]
    assert guarded["256"]["low"] > plain["256"]["high"], "the two intervals overlap"
    assert guarded["1"]["low"] > 0 and plain["1"]["low"] > 0
    assert {e["do"] for e in result["events"]} == {"return_to_best", "reset_optimizer", "change"}
    assert all(e["message"].startswith("pass@128 of 200 probe problems moved by -") for e in result["events"])


def test_the_result_in_the_repository_shows_what_is_claimed_of_it() -> None:
    holds(json.loads(RESULT.read_text()))


def offleash(*arguments: str) -> str:
    command = [sys.executable, "-m", "offleash", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=3600).stdout


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_the_guard_keeps_what_plain_training_loses(tmp_path: Path) -> None:
    store, result = str(tmp_path / "store"), {}
    ask = ("--task", "countdown", "--level", "5", "--split", "test", "--problems", "200", "--n", "512", "--out", store)
    offleash("sample", "--model", "base", *ask)
    for name, recipe in RECIPES.items():
        offleash("train", recipe, "--out", str(tmp_path / name))
        offleash("sample", "--model", str(tmp_path / name / "checkpoints" / "step_240"), "--label", name, *ask)
        result[name] = brief(
            json.loads(offleash("compare", f"{store}#base", f"{store}#{name}", "--k", "256", "--json"))
        )
    events = (tmp_path / "guarded" / "events.jsonl").read_text().splitlines()
    result["events"] = [e for e in map(json.loads, events) if e["kind"] == "guard"]
    holds(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def brief(document: dict[str, Any]) -> dict[str, Any]:
    """The parts of `offleash compare --json` that fit a page."""
    ks = [k for k in document["difference"] if k in ("1", "16", "64", "128", "256")]
    return {
        "verdict": document["verdict"],
        "because": document["because"],
        "pass_at_k": {side: {k: curve[k] for k in ks} for side, curve in document["pass_at_k"].items()},
        "difference": {k: document["difference"][k] for k in ks},
    }

"""`offleash compare` on logs of other tools, from the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from offleash.cli import main as cli

PEERS = Path(__file__).parents[1] / "golden" / "peers"
BASE, TUNED = (1, 4, 0, 2), (3, 4, 2, 0)
QUESTIONS = ("What is 2 + 3?", "What is 4 * 5?", "What is 9 - 4?", "What is 7 + 8?")


@pytest.fixture
def offleash(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["compare", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def pairs(out: str) -> list[tuple[int, int]]:
    """c of both sides, problem by problem."""
    return sorted((row["a"]["c"], row["b"]["c"]) for row in json.loads(out)["problems"])


@pytest.mark.parametrize("peer", ["trl", "verl", "lm_eval", "lighteval"])
def test_two_logs_of_one_tool(offleash, peer):
    code, out, err = offleash(PEERS / peer / "base", PEERS / peer / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))
    value = json.loads(out)["pass_at_k"]["b"]["2"]["value"]
    assert value == pytest.approx(sum(1 - math.comb(4 - c, 2) / math.comb(4, 2) for c in TUNED) / 4)
    assert "no problem id" not in err
    assert err.splitlines()[0].startswith(f"{PEERS / peer / 'base'}: ") and "4 problems, 16 samples; correct is" in err


@pytest.mark.parametrize("peer", ["verifiers", "verifiers_results"])
def test_two_logs_of_verifiers(offleash, peer):
    code, out, err = offleash(PEERS / peer / "base", PEERS / peer / "tuned", "--json", "--k", 2)
    lost = (2, 4, 2, 0) if peer == "verifiers" else TUNED
    assert code == 0 and pairs(out) == sorted(zip(BASE, lost, strict=True))
    assert f"{PEERS / peer / 'tuned'}: 1 sample without a score (reward): unverified and left out\n" in err


def test_two_prime_rl_folders(offleash):
    root = PEERS / "verifiers" / "prime_rl"
    code, out, _ = offleash(root / "base", root / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE[:2], TUNED[:2], strict=True))


def test_two_inspect_logs(offleash):
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'offleash[inspect]'")
    code, out, _ = offleash(PEERS / "inspect" / "base", PEERS / "inspect" / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))
    code, out, _ = offleash(PEERS / "inspect" / "base", PEERS / "verl" / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))


@pytest.mark.parametrize(
    ("a", "b"), [("trl", "verl"), ("verl", "lm_eval"), ("lm_eval", "lighteval"), ("lighteval", "trl")]
)
def test_logs_of_two_tools_are_matched_by_the_question(offleash, a, b):
    code, out, err = offleash(PEERS / a / "base", PEERS / b / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))
    assert "the sides share no problem id; matching problems by their prompts\n" in err


def test_a_table_beside_counts(offleash, tmp_path):
    table = tmp_path / "tuned.csv"
    table.write_text("id,ok\n" + "".join(f"p{p},{int(i < c)}\n" for p, c in enumerate(TUNED) for i in range(4)))
    counts = tmp_path / "base.jsonl"
    counts.write_text("".join(json.dumps({"id": f"p{p}", "c": c, "n": 4}) + "\n" for p, c in enumerate(BASE)))
    code, out, _ = offleash(counts, table, "--columns", "id=id,correct=ok", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))


def test_steps_and_thresholds(offleash):
    root = PEERS / "verl"
    code, out, err = offleash(f"{root / 'base'}#step=10", f"{root / 'ray_trainer'}#threshold=0", "--json")
    assert code == 0 and pairs(out) == sorted(zip((0, 2, 0, 1), TUNED, strict=True))
    assert (
        f"{root / 'ray_trainer'}#threshold=0: verl generations, 4 problems, 16 samples; correct is score >= 0\n" in err
    )
    code, out, err = offleash(root / "ray_trainer", root / "ray_trainer", "--threshold", 0.5)
    assert code == 0 and err.count("correct is score >= 0.5") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "{peers}/verl/ray_trainer {peers}/verl/base",
            "score: {peers}/verl/ray_trainer has scores other than 0 and 1 (-1)",
        ),
        ("{peers}/trl/two_rewards {peers}/trl/base", "choose one, as {peers}/trl/two_rewards#metric=accuracy_reward"),
        ("{peers}/lm_eval/filters {peers}/lm_eval/base", "holds several (first, strict)"),
        ("{peers}/trl/base {peers}/trl/tuned#step=9", "#step=9: {peers}/trl/tuned has no such step; it has 1, 2"),
        (
            "{peers}/trl/base {peers}/trl/tuned --level 3",
            "--level: files of counts ({{id, c, n}}) and logs of other tools",
        ),
        ("{peers}/trl/base#step=2 {peers}/trl/tuned --task x", "--task: files of counts"),
        (
            "{root}/c.jsonl {root}/c.jsonl --threshold 1",
            "--threshold, --columns: no side is a log of another tool",
        ),
        ("{root}/c.jsonl {root}/c.jsonl --columns id", "--columns: 'id' is not id=NAME,correct=NAME"),
        ("{root}/odd.jsonl {root}/c.jsonl", "odd.jsonl: not recognised (its fields: answer); known are lines of"),
        ("{root}/empty.jsonl {root}/c.jsonl", "empty.jsonl: it has no lines; give one {{id, c, n}} for each problem"),
        ("{root} {root}/c.jsonl", "or logs of TRL completions, verl generations, lm-evaluation-harness samples"),
        ("{peers}/trl/base {root}/c.jsonl", "the two sides share no problem"),
    ],
)
def test_bad_input_is_one_line_and_2(offleash, tmp_path, arguments, message):
    (tmp_path / "c.jsonl").write_text('{"id": "p", "c": 1, "n": 4}\n')
    (tmp_path / "odd.jsonl").write_text('{"answer": 1}\n')
    (tmp_path / "empty.jsonl").write_text("")
    code, out, err = offleash(*arguments.format(peers=PEERS, root=tmp_path).split())
    assert (code, out) == (2, "")
    *_, last = err.splitlines()
    assert last.startswith("offleash: ") and message.format(peers=PEERS, root=tmp_path) in last


def test_a_broken_end_is_said_beside_the_result(offleash, tmp_path):
    path = tmp_path / "20.jsonl"
    path.write_text((PEERS / "verl" / "tuned" / "20.jsonl").read_text()[:-10])
    code, _, err = offleash(PEERS / "verl" / "base", path)
    assert code == 0
    assert f"{path}: 20.jsonl:16: the last line breaks off and is left out (was the run stopped?)\n" in err
    assert f"{path}: problems have unequal numbers of samples, 3 to 4\n" in err


def test_a_run_folder_with_its_logs_inside(offleash, tmp_path):
    """TRL's output_dir holds checkpoints and completions; the folder itself is given."""
    for side in ("base", "tuned"):
        shutil.copytree(PEERS / "trl" / side, tmp_path / side)
        (tmp_path / side / "checkpoint-2").mkdir()
        (tmp_path / side / "checkpoint-2" / "trainer_state.json").write_text('{\n  "epoch": 1\n}\n')
    code, out, _ = offleash(tmp_path / "base", tmp_path / "tuned", "--json")
    assert code == 0 and pairs(out) == sorted(zip(BASE, TUNED, strict=True))

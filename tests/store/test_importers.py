"""Logs that other tools' own code wrote (tests/golden/peers), as counts that are known by hand."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.core import InputError
from offleash.store.importers import IMPORTERS, Reading, parse_columns, read, recognise
from offleash.store.importers.base import question, solved

PEERS = Path(__file__).parents[1] / "golden" / "peers"
QUESTIONS = ("What is 2 + 3?", "What is 4 * 5?", "What is 9 - 4?", "What is 7 + 8?")
BASE = {QUESTIONS[0]: (1, 4), QUESTIONS[1]: (4, 4), QUESTIONS[2]: (0, 4), QUESTIONS[3]: (2, 4)}
TUNED = {QUESTIONS[0]: (3, 4), QUESTIONS[1]: (4, 4), QUESTIONS[2]: (2, 4), QUESTIONS[3]: (0, 4)}
EARLIER = {QUESTIONS[0]: (0, 4), QUESTIONS[1]: (2, 4), QUESTIONS[2]: (0, 4), QUESTIONS[3]: (1, 4)}


def counts(path: Path, chosen: str = "", reading: Reading | None = None) -> dict[str, tuple[int, int]]:
    """c and n by question."""
    found = read(path, chosen, reading)
    assert found is not None
    assert all(row.undecided == 0 for row in found.rows)
    return {found.prompts[row.id]: (row.c, row.n) for row in found.rows}


def first_two(expected: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return dict(list(expected.items())[:2])


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("trl", "TRL completions"),
        ("verl", "verl generations"),
        ("lm_eval", "lm-evaluation-harness samples"),
        ("lighteval", "lighteval details"),
        ("verifiers", "verifiers rollouts"),
        ("verifiers_results", "verifiers rollouts"),
        ("inspect", "Inspect log"),
    ],
)
def test_formats_are_known_by_content(peer, name, tmp_path):
    for side in ("base", "tuned"):
        folder = PEERS / peer / side
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        assert files
        for place in (folder, *files):
            assert recognise(place).name == name
        renamed = shutil.copy(files[0], tmp_path / f"{side}{files[0].suffix}")
        assert recognise(Path(renamed)).name == name


@pytest.mark.parametrize("peer", ["trl", "verl", "lm_eval", "lighteval"])
def test_counts_of_two_models(peer):
    assert counts(PEERS / peer / "base") == BASE
    assert counts(PEERS / peer / "tuned") == TUNED


def test_two_logs_of_one_tool_share_ids():
    for peer in ("trl", "verl", "lm_eval", "lighteval", "verifiers", "verifiers_results"):
        base, tuned = read(PEERS / peer / "base"), read(PEERS / peer / "tuned")
        assert {row.id for row in base.rows} == {row.id for row in tuned.rows}
        assert set(base.prompts.values()) == set(tuned.prompts.values()) == set(QUESTIONS)


# ---------------------------------------------------------------------------------------------------------- trl and verl


@pytest.mark.parametrize("peer", ["trl", "verl"])
def test_the_last_step_unless_another_is_chosen(peer):
    folder, steps = PEERS / peer / "base", ("1", "2") if peer == "trl" else ("10", "20")
    assert f"step {steps[1]}, the last; 1 earlier left out (#step=... chooses)" in read(folder).notes
    assert counts(folder, f"step={steps[0]}") == EARLIER
    assert not any("step" in note for note in read(folder, f"step={steps[1]}").notes)
    with pytest.raises(InputError, match=rf"#step=7: .* has no such step; it has {steps[0]}, {steps[1]}"):
        read(folder, "step=7")


def test_trl_names_its_reward_functions():
    folder = PEERS / "trl" / "two_rewards"
    with pytest.raises(
        InputError, match=r"metric: .* holds several \(accuracy_reward, length_reward\); choose one, as"
    ):
        read(folder)
    found = read(folder, "metric=accuracy_reward")
    # The first question's one right completion is the one whose reward is None.
    assert counts(folder, "metric=accuracy_reward") == {**BASE, QUESTIONS[0]: (0, 3)}
    assert "1 sample without a score (accuracy_reward): unverified and left out" in found.notes
    assert found.notes[0] == "TRL completions, 4 problems, 16 samples; correct is accuracy_reward = 1"
    with pytest.raises(
        InputError, match=r"length_reward: .* scores other than 0 and 1 \(0.25\); .* --threshold NUMBER"
    ):
        read(folder, "metric=length_reward")
    assert set(counts(folder, "metric=length_reward,threshold=0.25").values()) == {(4, 4)}
    assert set(counts(folder, "metric=length_reward", Reading(threshold=0.3)).values()) == {(0, 4)}


def test_verl_sessions_of_several_turns_count_once():
    found = read(PEERS / "verl" / "base")
    lines = (PEERS / "verl" / "base" / "20.jsonl").read_text().splitlines()
    assert len(lines) == 17 and sum(row.n for row in found.rows) == 16
    assert "17 lines of 16 sessions of several turns; each session counts once" in found.notes


def test_verl_counts_acc_where_there_is_one_and_else_the_score():
    assert read(PEERS / "verl" / "base").rule == "acc = 1"
    assert read(PEERS / "verl" / "base", "metric=reward").rule == "reward = 1"
    with pytest.raises(InputError, match=r"score: .* other than 0 and 1 \(-1\)"):
        read(PEERS / "verl" / "ray_trainer")
    assert counts(PEERS / "verl" / "ray_trainer", "threshold=0") == TUNED
    assert read(PEERS / "verl" / "ray_trainer", "threshold=0").rule == "score >= 0"


# ------------------------------------------------------------------------------------------------ lm-eval and lighteval


def test_lm_eval_counts_come_from_pass_at_1():
    found = read(PEERS / "lm_eval" / "base")
    assert found.rule == "as counted from pass@1 (filter all)"
    assert found.name == "told"
    # pass@2 of 1.0 may be 3 or 4 correct of 4.
    with pytest.raises(InputError, match=r"pass@2: 1 of 4 responses in .*:2 does not say how many are correct"):
        read(PEERS / "lm_eval" / "base", "metric=pass@2")


def test_lm_eval_filters_are_named_and_judge_one_response_each():
    folder = PEERS / "lm_eval" / "filters"
    with pytest.raises(InputError, match=r"filter: .* holds several \(first, strict\); choose one, as .*#filter=first"):
        read(folder)
    assert counts(folder, "filter=first") == {q: (int(c > 0), 1) for q, (c, _) in BASE.items()}
    assert set(counts(folder, "filter=strict").values()) == {(0, 1)}
    assert "12 more responses that filter first leaves unjudged are not counted" in read(folder, "filter=first").notes


def test_lm_eval_multiple_choice():
    folder = PEERS / "lm_eval" / "choices"
    with pytest.raises(InputError, match=r"metric: .* holds several \(acc, acc_norm\)"):
        read(folder)
    # The first choice is "5"; it is the answer to the first and the third question.
    assert counts(folder, "metric=acc") == dict(zip(QUESTIONS, ((1, 1), (0, 1), (1, 1), (0, 1)), strict=True))


def test_lm_eval_a_majority_vote_is_no_sample(tmp_path):
    rows = [
        json.loads(line) for line in next((PEERS / "lm_eval" / "filters").rglob("*.jsonl")).read_text().splitlines()
    ]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps({**row, "filter": "maj@4"}) + "\n" for row in rows if row["filter"] == "first"))
    with pytest.raises(InputError, match=r"exact_match: in .* one number for 4 responses under filter maj@4"):
        read(path)


def test_lm_eval_takes_the_last_date_of_each_task(tmp_path):
    source = next((PEERS / "lm_eval" / "base").rglob("*.jsonl"))
    later = next((PEERS / "lm_eval" / "tuned").rglob("*.jsonl"))
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(source, folder / "samples_arithmetic_2026-11-01T10-00-00.000000.jsonl")
    shutil.copy(later, folder / "samples_arithmetic_2026-11-02T10-00-00.000000.jsonl")
    assert counts(folder) == TUNED
    assert "date 2026-11-02T10-00-00.000000, the last; 1 earlier left out (#date=... chooses)" in read(folder).notes
    assert counts(folder, "date=2026-11-01T10-00-00.000000") == BASE
    shutil.copy(source, folder / "samples_other_2026-11-01T10-00-00.000000.jsonl")
    both = read(folder)
    assert len(both.rows) == 8 and "2 tasks together: arithmetic, other (#task=... chooses)" in both.notes
    assert not both.prompts and "8 problems share a question with another; they can be matched by id only" in both.notes
    assert counts(folder, "task=other") == BASE


def test_lighteval_counts_come_from_pass_at_1_or_an_average():
    folder = PEERS / "lighteval" / "base"
    assert read(folder).rule == "as counted from pass@k:k=1&n=4"
    assert read(folder).name == "org/told"
    assert counts(folder, "metric=avg@n:n=4") == BASE
    with pytest.raises(InputError, match=r"pass@k:k=2&n=4: 1 in .*, row 2 does not say how many of 4 responses"):
        read(folder, "metric=pass@k:k=2&n=4")


def test_lighteval_one_response_a_document():
    assert counts(PEERS / "lighteval" / "single") == {q: (int(c > 0), 1) for q, (c, _) in BASE.items()}
    assert read(PEERS / "lighteval" / "single").rule == "em = 1"


def test_lighteval_one_number_for_several_responses_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(next((PEERS / "lighteval" / "base").rglob("*.parquet"))).to_pylist()
    for row in rows:
        row["metric"] = {"em": 1}
    path = tmp_path / "details.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match=r"em: in .*, row 1 it is one number for 4 responses"):
        read(path)


def test_lighteval_files_as_it_names_them(tmp_path):
    date = "2026-11-01T10-00-00.000000"
    folder = tmp_path / "details" / "org" / "model" / date
    folder.mkdir(parents=True)
    source = next((PEERS / "lighteval" / "tuned").rglob("*.parquet"))
    shutil.copy(source, folder / f"details_arithmetic|0_{date}.parquet")
    assert counts(tmp_path) == counts(tmp_path, "task=arithmetic|0") == TUNED
    assert read(tmp_path).name == "org/model"


@given(st.integers(1, 64), st.data())
def test_solved_inverts_pass_at_k(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    values = [1 - math.comb(n - x, k) / math.comb(n, k) for x in range(n + 1)]
    alone = all(abs(values[x] - values[c]) > 1e-5 for x in range(n + 1) if x != c)
    assert solved(values[c], n, k) == c if alone else solved(values[c], n, k) in (c, None)
    assert alone or k > 1


# ------------------------------------------------------------------------------------------------------------ verifiers


def test_verifiers_traces():
    assert counts(PEERS / "verifiers" / "base") == BASE
    # Its first sample ended in an error before it was scored.
    assert counts(PEERS / "verifiers" / "tuned") == {**TUNED, QUESTIONS[0]: (2, 3)}
    assert "1 sample without a score (reward): unverified and left out" in read(PEERS / "verifiers" / "tuned").notes


def test_verifiers_shaped_rewards_and_agents():
    folder = PEERS / "verifiers" / "shaped"
    with pytest.raises(InputError, match=r"reward: .* other than 0 and 1 \(0.1, 1.1\)"):
        read(folder)
    assert counts(folder, "threshold=1") == counts(folder, "metric=exact") == first_two(BASE)
    assert "8 traces of other agents than solver left out (#agent=... chooses)" in read(folder, "metric=exact").notes
    with pytest.raises(InputError, match=r"#agent=critic: .* has no such agent; it has solver"):
        read(folder, "metric=exact,agent=critic")


def test_prime_rl_steps():
    root = PEERS / "verifiers" / "prime_rl"
    assert counts(root / "base") == first_two(BASE)
    assert counts(root / "base", "step=1") == first_two(EARLIER)
    assert counts(root / "tuned") == first_two(TUNED)
    with pytest.raises(InputError, match=r"model: .* holds several \(base/rollouts, tuned/rollouts\); choose one"):
        read(root)
    assert counts(root, "model=tuned/rollouts") == first_two(TUNED)
    with pytest.raises(InputError, match=r"#step=9: .* has no such step; it has 2"):
        read(root / "tuned", "step=9")


def test_verifiers_results():
    assert counts(PEERS / "verifiers_results" / "base") == BASE
    # Its last sample ended in an error; its reward of 0 is no verdict.
    assert counts(PEERS / "verifiers_results" / "tuned") == {**TUNED, QUESTIONS[3]: (0, 3)}
    assert counts(PEERS / "verifiers_results" / "base", "metric=exact") == BASE
    with pytest.raises(InputError, match=r"#agent=solver: .* no such agent; it has none"):
        read(PEERS / "verifiers_results" / "base", "agent=solver")


# -------------------------------------------------------------------------------------------------------------- inspect


def test_inspect_logs_read_by_its_own_library():
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'offleash[inspect]'")
    folder = PEERS / "inspect"
    assert (counts(folder / "base"), counts(folder / "tuned")) == (BASE, TUNED)
    with pytest.raises(InputError, match=r"metric: .* holds several \(includes, graded.quality, graded.exact\)"):
        read(folder / "two_scorers")
    expected = {**BASE, QUESTIONS[2]: (0, 3)}  # one sample of it ended in an error
    for chosen in ("metric=includes", "metric=graded.exact", "metric=graded.quality,threshold=0.7"):
        assert counts(folder / "two_scorers", chosen) == expected


def test_without_inspect_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(InputError, match=r"install it: pip install 'offleash\[inspect\]'"):
        read(PEERS / "inspect" / "base")


@pytest.fixture
def inspect_log(monkeypatch):
    """A stand-in for `inspect_ai.log`, with one log whose samples a test sets."""
    samples: list[SimpleNamespace] = []
    header = SimpleNamespace(
        status="success",
        eval=SimpleNamespace(
            model="m", task="t", created="2026-11-01", config=SimpleNamespace(epochs=2),
            dataset=SimpleNamespace(sample_ids=[1, "b"]),
        ),
    )  # fmt: skip
    log = ModuleType("inspect_ai.log")
    log.read_eval_log = lambda path, header_only: header
    log.read_eval_log_samples = lambda path, **_: iter(samples)
    log.read_eval_log_sample_summaries = lambda path: samples
    package = ModuleType("inspect_ai")
    package.log = log
    monkeypatch.setitem(sys.modules, "inspect_ai", package)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", log)

    def add(name: object, epoch: int, value: object, error: object = None) -> None:
        scores = None if value is None else {"match": SimpleNamespace(value=value)}
        samples.append(SimpleNamespace(id=name, epoch=epoch, input=f"question {name}", scores=scores, error=error))

    return SimpleNamespace(add=add, header=header, path=PEERS / "inspect" / "base")


def test_inspect_values(inspect_log):
    for name, epoch, value in ((1, 1, "C"), (1, 2, "N"), ("b", 1, True), ("b", 2, "I")):
        inspect_log.add(name, epoch, value)
    assert counts(inspect_log.path) == {"question 1": (1, 2), "question b": (1, 2)}


def test_inspect_partial_credit_needs_a_threshold(inspect_log):
    for name, epoch, value in ((1, 1, "P"), (1, 2, "C"), ("b", 1, "I"), ("b", 2, 0.25)):
        inspect_log.add(name, epoch, value)
    with pytest.raises(InputError, match=r"match: .* other than 0 and 1 \(0.25, 0.5\)"):
        read(inspect_log.path)
    assert counts(inspect_log.path, "threshold=0.5") == {"question 1": (2, 2), "question b": (0, 2)}


def test_inspect_logs_that_are_incomplete_say_so(inspect_log):
    inspect_log.header.status = "error"
    inspect_log.add(1, 1, "C")
    inspect_log.add("b", 1, None, error="the tool is gone")
    found = read(inspect_log.path)
    assert [(row.c, row.n, row.unverified) for row in found.rows] == [(1, 1, 0), (0, 0, 1)]
    assert "arithmetic.eval: status error, 2 of 4 samples" in found.notes


def test_inspect_values_that_are_no_number(inspect_log):
    inspect_log.add(1, 1, ["a"])
    with pytest.raises(InputError, match=r"match: \['a'\] in .*, sample 1, epoch 1 is no number"):
        read(inspect_log.path)


# --------------------------------------------------------------------------------------------------- tables and prompts


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_any_table_with_named_columns(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    rows = [{"pid": q, "ok": int(i < c), "text": f"{q} "} for q, (c, n) in BASE.items() for i in range(n)]
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = ["pid\tok\ttext", *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines if kind == "tsv" else [line.replace("\t", ",") for line in lines]) + "\n")
    assert counts(path, reading=Reading(columns=parse_columns("id=pid,correct=ok,prompt=text"))) == BASE
    plain = read(path, reading=Reading(columns=parse_columns("id=pid,correct=ok")))
    assert {row.id: (row.c, row.n) for row in plain.rows} == BASE and plain.prompts == {}


@pytest.mark.parametrize(
    "prompt",
    [
        "What is 2 + 3?",
        "  What is 2 + 3?\n",
        [{"role": "user", "content": "What is 2 + 3?"}],
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "What is 2 + 3?"}],
        [{"role": "user", "content": [{"type": "text", "text": "What is 2 + 3?"}]}],
        json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 3?"}]),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n",
        "system\nBe brief.\nuser\nWhat is 2 + 3?\nassistant\n<think>\n\n</think>\n\n",
        "system\n\nBe brief.user\n\nWhat is 2 + 3?assistant\n\n",
        "<|start_header_id|>user<|end_header_id|>\n\nWhat is 2 + 3?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ],
)  # fmt: skip
def test_the_question_in_a_prompt(prompt):
    assert question(prompt) == "What is 2 + 3?"


def test_every_format_says_what_it_is():
    assert len({importer.name for importer in IMPORTERS}) == len(IMPORTERS)
    for importer in IMPORTERS:
        assert importer.sign and importer.choices and importer.suffixes
        assert "threshold" not in importer.choices


def test_every_format_has_a_row_in_the_manual():
    manual = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text()
    for importer in IMPORTERS:
        assert f"| {importer.name} |" in manual
        for choice in importer.choices:
            assert f"`{choice}`" in manual

"""A store gives back what was written, counts it right, and refuses what would be wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import SAMPLER, SETTINGS, filled, problem, sample, verdict

from offleash.core import Completion, InputError, OffleashError, Problem
from offleash.store import CountRow, SampleRow, Store, Unverified, open_or_create, sampler_id, storable_text
from offleash.store.schema import arrow_schema

# ------------------------------------------------------------------------------------------------ folders


def test_create_then_open(tmp_path: Path) -> None:
    Store.create(tmp_path / "a" / "b")
    assert json.loads((tmp_path / "a" / "b" / "store.json").read_text()) == {"schema": 1}
    store = Store.open(str(tmp_path / "a" / "b"))
    assert (store.models(), store.samplers(), store.problems(), store.have("m", "s", 0)) == ([], {}, [], {})
    assert store.unverified("m", "v1") == []
    assert open_or_create(tmp_path / "a" / "b").path == open_or_create(tmp_path / "c").path.parent / "a" / "b"


def test_an_empty_store_answers_with_the_right_types(tmp_path: Path) -> None:
    empty, full = Store.create(tmp_path / "e"), filled(tmp_path / "f")
    for table in ("problems", "samples", "verdicts"):
        assert empty.sql(f"SELECT * FROM {table}").schema.equals(full.sql(f"SELECT * FROM {table}").schema)
        assert full.sql(f"SELECT * FROM {table}").schema.names == arrow_schema(table).names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.mkdir(), "holds no store"),
        (lambda p: (p.mkdir(), (p / "store.json").write_text("{")), "not valid JSON"),
        (lambda p: (p.mkdir(), (p / "store.json").write_text("[]")), "a JSON list, not an object"),
        (lambda p: (p.mkdir(), (p / "store.json").write_text('{"schema": 9}')), "schema 9, this offleash reads 1"),
    ],
)
def test_open_refuses_what_is_no_store(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "s")
    with pytest.raises(InputError, match=message) as caught:
        Store.open(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)


def test_create_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(notes.txt\)"):
        Store.create(tmp_path)
    Store.create(tmp_path / "s")
    with pytest.raises(InputError, match="is a store already"):
        Store.create(tmp_path / "s")
    with pytest.raises(InputError, match="cannot make this folder"):
        Store.create(tmp_path / "notes.txt" / "s")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["a b", "lr=1", "[x]*?{y}", "it's", 'say "x"', "ünï", "%41", "part-00000099"])
def test_any_folder_name_works(tmp_path: Path, name: str) -> None:
    store = filled(tmp_path / name / "s")
    assert len(store.counts("base")) == 2 and store.sql("SELECT * FROM samples").num_rows == 6


# ------------------------------------------------------------------------------------------------ rows


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    store, p = Store.create(tmp_path / "s"), problem(1)
    rows = [
        sample(p, 0, text="", token_ids=(), logprobs=(), entropies=()),
        sample(p, 1, text="a\nb\x00\t'\"é\U0001f600", logprobs=(-math.inf, math.nan), seed=-5),
        sample(p, 2**31 - 1, token_ids=(2**31 - 1, 0), seed=2**63 - 1, finish_reason="length"),
    ]
    with store.writer() as writer:
        writer.add_samples(rows)
    found = [SampleRow(**row) for row in store.sql("SELECT * FROM samples ORDER BY index").to_pylist()]
    for wrote, read in zip(rows, found, strict=True):
        assert wrote.text == read.text and list(wrote.token_ids) == read.token_ids
        assert (wrote.index, wrote.seed, wrote.finish_reason) == (read.index, read.seed, read.finish_reason)
        assert repr(list(wrote.logprobs)) == repr(read.logprobs) and list(wrote.entropies) == read.entropies


@given(texts=st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=40))
@settings(max_examples=5)
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    store = Store.create(tmp_path_factory.mktemp("texts") / "s")
    completions = [Completion("p", i, text, (), (), (), "stop") for i, text in enumerate(texts)]
    with store.writer() as writer:
        writer.add_samples([SampleRow.of(c, model="m", seed=0, sampler="s") for c in completions])
    assert [row.text for row in store.unverified("m", "v1")] == list(map(storable_text, texts))


def test_storable_text_changes_only_what_no_file_can_hold() -> None:
    assert storable_text("plain é \U0001f600 \x00") == "plain é \U0001f600 \x00"
    assert storable_text("a\ud800b\udc00") == "a\ufffdb\ufffd"
    assert storable_text("\ud83d\ude00") == "\U0001f600"


def test_problems_come_back_in_the_order_they_were_written(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    first = problem(9, level=2, meta={"numbers": [3, 1], "name": "é"})
    others = [problem(i, split=split) for i, split in ((1, "test"), (5, "train"), (3, "test"))]
    with store.writer() as writer:
        writer.add_problems([first], [float("nan")])
        writer.add_problems(others, [0.1, 0.2, 0.3])
        writer.add_problems([], [])
    assert [s.problem for s in store.problems()] == [first, *others]
    assert math.isnan(store.problems(level=2)[0].guess)
    assert [s.guess for s in store.problems(task="toy", level=1, split="test")] == [0.1, 0.3]
    assert store.problems(task="other") == []


def test_values_that_do_not_fit_are_refused_by_column(tmp_path: Path) -> None:
    store, p = Store.create(tmp_path / "s"), problem(1)
    with store.writer() as writer:
        for row, column in (
            (sample(p, 2**31), "index"),
            (sample(p, 0, seed=2**63), "seed"),
            (sample(p, 0, text=None), "text"),
            (sample(p, 0, token_ids=("a",)), "token_ids"),
            (sample(p, 0, text="\ud800"), "text"),
        ):
            with pytest.raises(InputError, match=rf"^{column}: "):
                writer.add_samples([row])
        with pytest.raises(InputError, match=r"meta: problem .* cannot be written as JSON"):
            writer.add_problems([problem(1, meta={"x": {1}})], [0.5])
        with pytest.raises(InputError, match="guess: 2 values for 1 problems"):
            writer.add_problems([p], [0.5, 0.5])
    assert store.sql("SELECT * FROM samples").num_rows == 0 and store.problems() == []


# ------------------------------------------------------------------------------------------------ models and samplers


def test_models_are_recorded_once_under_any_id(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.writer() as writer:
        assert writer.add_model({"id": "a/b: ../x", "label": "served", "step": 3}) == "a/b: ../x"
        writer.add_model({"id": "a/b: ../x", "label": "renamed"})
        writer.add_model({"id": "c" * 64})
        with pytest.raises(InputError, match="it has no id"):
            writer.add_model({"label": "x"})
        with pytest.raises(InputError, match="cannot be written as JSON"):
            writer.add_model({"id": "x", "label": object()})
    assert store.models() == [
        {"id": "c" * 64, "label": "c" * 64},
        {"id": "a/b: ../x", "label": "served", "step": 3},
    ]
    assert len(list((tmp_path / "s" / "models").iterdir())) == 2


def test_models_are_found_by_id_label_or_beginning(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.writer() as writer:
        for name, label in (("aaaaaa1", "base"), ("aaaaaa2", "GRPO"), ("bbbbbb3", "GRPO"), ("base", "odd")):
            writer.add_model({"id": name, "label": label})
    assert store.model("aaaaaa1")["label"] == "base"
    assert store.model("base")["label"] == "odd"  # an id goes before a label
    assert store.model("bbbbbb")["id"] == "bbbbbb3"
    for name, message in (
        ("GRPO", r"2 models .* 'GRPO'; give an id: aaaaaa2, bbbbbb3"),
        ("aaaaaa", "2 models"),
        ("bbbbb", "unknown model"),
        ("GRP", "did you mean 'GRPO'"),
    ):
        with pytest.raises(InputError, match=message):
            store.model(name)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    (tmp_path / "s" / "models" / "m.json").write_text('{"id": "m"')
    with pytest.raises(
        InputError, match=r"models/m\.json: not valid JSON .*delete it, then run the same `offleash sample`"
    ):
        store.models()


def test_sampler_ids_are_known_and_depend_on_content_only(tmp_path: Path) -> None:
    import hashlib

    text = '{"engine":"fake","temperature":1}'
    assert sampler_id(SETTINGS) == hashlib.blake2b(text.encode()).hexdigest()[:16] == SAMPLER
    assert sampler_id({"temperature": 1, "engine": "fake"}) == SAMPLER
    assert sampler_id({"stop": ("a",)}) == sampler_id({"stop": ["a"]})
    different = [{"t": 1}, {"t": 1.5}, {"t": "1"}, {"t": True}, {"t": None}, {"t": [1]}, {"t": {"x": 1}}, {}]
    assert len({sampler_id(s) for s in different}) == len(different)
    for bad in ({"t": float("nan")}, {"t": object()}):
        with pytest.raises(InputError, match="settings: cannot be written as JSON"):
            sampler_id(bad)
    store = Store.create(tmp_path / "s")
    with store.writer() as writer:
        assert writer.add_sampler(SETTINGS) == writer.add_sampler(dict(reversed(SETTINGS.items()))) == SAMPLER
    assert store.samplers() == {SAMPLER: SETTINGS}


# ------------------------------------------------------------------------------------------------ results


def test_counts_leave_undecided_out_of_n(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=2, n=5)
    assert store.counts("base") == [CountRow(name, 1, 4, 1, 0) for name in sorted(problem(i).id for i in range(2))]
    assert store.counts("m") == store.counts("base", level=1, task="toy", split="test", sampler=SAMPLER, seed=0)
    assert store.counts("base", level=2) == store.counts("base", split="train") == store.counts("base", seed=1) == []
    with pytest.raises(InputError, match="unknown model 'bse'; did you mean 'base'"):
        store.counts("bse")


def test_samples_without_a_verdict_are_counted_apart(tmp_path: Path) -> None:
    store, new = filled(tmp_path / "s", count=1, n=2), problem(7)
    with store.writer() as writer:
        writer.add_problems([new], [0.5])
        writer.add_samples([sample(new, 0), sample(problem(0), 2)])
    found = {row.id: row for row in store.counts("base")}
    assert found[new.id] == CountRow(new.id, 0, 0, 0, 1)
    assert found[problem(0).id] == CountRow(problem(0).id, 1, 1, 1, 1)
    assert [(row.problem_id, row.index) for row in store.unverified("m", "v1")] == sorted(
        [(new.id, 0), (problem(0).id, 2)]
    )
    assert len(store.unverified("m", "v2")) == 4


def test_unverified_can_be_narrowed(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=1, n=1)
    p = problem(0)
    with store.writer() as writer:
        writer.add_samples([sample(p, 0, seed=1), sample(p, 0, sampler="other"), sample(p, 5, model="n")])
    assert store.unverified("m", "v1", seed=1) == [Unverified("m", p.id, 0, 1, SAMPLER, "text 0")]
    assert [row.sampler for row in store.unverified("m", "v1", sampler="other", task="toy")] == ["other"]
    assert store.unverified("m", "v1", task="none") == []
    assert [row.index for row in store.unverified("n", "v1")] == [5]


def test_have_tells_models_seeds_and_samplers_apart(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=2, n=3)
    p = problem(0)
    with store.writer() as writer:
        writer.add_samples(
            [sample(p, 7), sample(p, 8, seed=1), sample(p, 9, model="n"), sample(p, 10, sampler="other")]
        )
    assert store.have("m", SAMPLER, 0) == {p.id: {0, 1, 2, 7}, problem(1).id: {0, 1, 2}}
    assert store.have("m", SAMPLER, 1) == {p.id: {8}} and store.have("m", "other", 0) == {p.id: {10}}


@pytest.mark.parametrize(
    ("more", "judged", "message"),
    [
        ({"sampler": "other"}, {}, rf"sampler: .*{min(SAMPLER, 'other')}, {max(SAMPLER, 'other')}.*must not be mixed"),
        ({"seed": 3}, {}, "seed: .*0, 3"),
        ({"index": 0}, {"verifier_version": "v2"}, "verifier_version: task toy .*v1, v2"),
    ],
)
def test_results_that_cannot_be_compared_are_not_mixed(tmp_path: Path, more: dict, judged: dict, message: str) -> None:
    store = filled(tmp_path / "s", count=1, n=1)
    before = store.counts("base")
    row = sample(problem(0), **{"index": 0, **more})
    with store.writer() as writer:
        writer.add_samples([row] if judged == {} else [])
        writer.add_verdicts([verdict(row, **judged)])
    for ask in (store.counts, store.rows):
        with pytest.raises(InputError, match=message):
            ask("base")
    assert store.counts("base", sampler=SAMPLER, seed=0, verifier_version="v1") == before
    assert store.rows("base", sampler=SAMPLER, seed=0, verifier_version="v1").num_rows == 1


def test_tasks_may_have_verifiers_of_their_own(tmp_path: Path) -> None:
    store, other = filled(tmp_path / "s", count=1, n=1), problem(1, task="other")
    with store.writer() as writer:
        writer.add_problems([other], [0.1])
        writer.add_samples([sample(other, 0)])
        writer.add_verdicts([verdict(sample(other, 0), verifier_version="other-1")])
    assert [(row.c, row.n) for row in store.counts("base")] == [(1, 1), (1, 1)]
    assert [row.id for row in store.counts("base", task="other")] == [other.id]


def test_rows_join_samples_and_verdicts(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=2, n=3)
    with store.writer() as writer:
        writer.add_samples([sample(problem(1), 3, token_ids=(), logprobs=(), entropies=())])
    rows = store.rows("base", level=1).to_pylist()
    assert [(r["problem_id"], r["index"]) for r in rows] == sorted((r["problem_id"], r["index"]) for r in rows)
    assert len(rows) == 7
    assert rows[0] == {
        "problem_id": min(problem(0).id, problem(1).id), "index": 0, "text": "text 0", "length": 2, "logprob": -2.0,
        "entropy": 0.5, "finish_reason": "stop", "correct": True, "reward": 1.0, "answer": "3", "format": "number",
        "reason": "",
    }  # fmt: skip
    assert [r["correct"] for r in rows if r["problem_id"] == problem(0).id] == [True, None, False]
    bare = next(r for r in rows if r["index"] == 3)
    assert (bare["length"], bare["entropy"], bare["correct"], bare["reward"]) == (0, None, None, None)


def test_sql_sees_three_views_and_says_what_is_wrong(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    query = "SELECT p.prompt, avg(v.reward) AS r FROM verdicts v JOIN problems p ON p.id = v.problem_id GROUP BY ALL ORDER BY 1"
    assert store.sql(query).to_pydict() == {"prompt": ["0?", "1?"], "r": [1 / 3, 1 / 3]}
    for query, message in (
        ("SELEC 1", "query: .*the views are problems, samples, verdicts"),
        ("SELECT nothing FROM samples", "query: "),
        ("SELECT * FROM sample", "query: "),
        ("SELECT CAST('x' AS INTEGER)", "query: "),
        ("-- nothing", "returns no rows"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            store.sql(query)
        assert "\n" not in str(caught.value)


def test_a_long_query_can_be_interrupted(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    store.sql("SELECT 1")
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        store.sql("SELECT sum(a.i * b.i % 7) FROM range(40000) a(i), range(40000) b(i)")
    timer.join()
    assert store.sql("SELECT 1 AS x").to_pydict() == {"x": [1]}


# ------------------------------------------------------------------------------------------------ duplicates


def test_of_two_samples_with_one_key_the_later_holds_with_its_own_verdict(tmp_path: Path) -> None:
    store, p = filled(tmp_path / "s", count=1, n=2), problem(0)
    again = sample(p, 0, text="again")
    with store.writer() as writer:
        writer.add_samples([sample(p, 0, text="between"), again])
    assert store.sql("SELECT text FROM samples ORDER BY index").to_pydict() == {"text": ["again", "text 1"]}
    assert store.have("m", SAMPLER, 0) == {p.id: {0, 1}}
    # The verdict on disk was on the first text: it no longer counts.
    assert store.counts("base") == [CountRow(p.id, 0, 0, 1, 1)]
    assert [row.text for row in store.unverified("m", "v1")] == ["again"]
    assert store.sql("SELECT index FROM verdicts").to_pydict() == {"index": [1]}
    with store.writer() as writer:
        writer.add_verdicts([verdict(again, True), verdict(again, False, reason="second thoughts")])
    assert store.counts("base") == [CountRow(p.id, 0, 1, 1, 0)]
    assert store.rows("base").column("reason").to_pylist() == ["second thoughts", ""]


def test_a_problem_written_again_replaces_itself(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=2)
    with store.writer() as writer:
        writer.add_problems([problem(0, level=5)], [0.9])
    assert [(s.problem.level, s.guess) for s in store.problems()] == [(1, 0.5), (5, 0.9)]
    assert [row.id for row in store.counts("base", level=5)] == [problem(0).id]


# ------------------------------------------------------------------------------------------------ writing


def test_a_writer_is_alone_and_its_lock_ends_with_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    with store.writer() as writer:
        with pytest.raises(InputError, match=rf"{tmp_path}/s: another process \(pid {os.getpid()}\) is writing"):
            Store.open(tmp_path / "s").writer().__enter__()
        assert len(store.counts("base")) == 2
    with pytest.raises(OffleashError, match="this writer is closed"):
        writer.add_samples([sample(problem(0), 9)])
    with pytest.raises(OffleashError, match="this writer is closed"):
        writer.add_model({"id": "new"})
    with pytest.raises(ZeroDivisionError), store.writer():
        raise ZeroDivisionError
    with store.writer() as writer:
        writer.add_samples([sample(problem(0), 9)])


def test_a_reader_sees_what_is_written_meanwhile(tmp_path: Path) -> None:
    store, reader = filled(tmp_path / "s", count=1, n=1), Store.open(tmp_path / "s")
    assert reader.counts("base")[0].n == 1
    with store.writer() as writer:
        writer.add_samples([sample(problem(0), 5)])
        assert reader.counts("base")[0].unverified == 1
        writer.add_verdicts([verdict(sample(problem(0), 5))])
        assert reader.counts("base")[0].n == 2


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    (tmp_path / "s" / "samples").write_text("a file in the way")
    with pytest.raises(OffleashError, match=r"/s: cannot be written"):
        store.writer().__enter__()
    (tmp_path / "s" / "samples").unlink()
    with store.writer():
        pass


def test_the_schema_of_problem_ids_is_content(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=1)
    stored = store.problems()[0].problem
    assert stored.id == Problem(stored.task, stored.version, stored.prompt, stored.answer).id

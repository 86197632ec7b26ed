"""Filling a store: what is asked of the engine, what lands on disk, and what a second call does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import filler
import pytest
from filler import Fake, Toy

from offleash.core import Completion, InputError, OffleashError, rng
from offleash.engines.base import Request, Sampler, Unfinished
from offleash.sampling.fill import fill
from offleash.store import CountRow, Store

NAME = filler.MODEL["id"]


def test_every_problem_gets_its_n_verified_samples(tmp_path: Path) -> None:
    done = filler.run(tmp_path / "s", count=6, n=8)
    store = Store.open(tmp_path / "s")
    assert (done.sampled, done.verified) == (48, 48)
    counts = store.counts("base")
    assert [row.id for row in counts] == sorted(p.id for p in filler.problems(6))
    assert all(row.n + row.undecided == 8 and row.unverified == 0 for row in counts)
    assert store.models() == [filler.MODEL]
    assert list(store.samplers().values()) == [Fake().settings()]


def test_stored_samples_are_what_the_engine_drew_and_verdicts_what_the_verifier_said(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=2, n=3)
    rows = Store.open(tmp_path / "s").sql(
        "SELECT * FROM samples JOIN verdicts USING (model, problem_id, index, seed, sampler)"
    )
    assert rows.num_rows == 6
    by_id = {p.id: p for p in filler.problems(2)}
    for row in rows.to_pylist():
        problem, i = by_id[row["problem_id"]], row["index"]
        key = rng.key64("sample", 0, problem.id, i)
        drawn = Fake().generate([Request(problem.id, problem.prompt, i, key)])[0]
        said = Toy().verify(problem, drawn.text)
        assert row["text"] == drawn.text and row["finish_reason"] == drawn.finish_reason
        assert tuple(row["token_ids"]) == drawn.token_ids and tuple(row["logprobs"]) == drawn.logprobs
        assert (row["correct"], row["reward"], row["verifier_version"]) == (said.correct, said.reward, "toy-1")


def test_null_verdicts_are_undecided_never_wrong(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=4, n=64, batch=64)
    store = Store.open(tmp_path / "s")
    texts = {
        p.id: [
            f.text for f in Fake().generate([Request(p.id, "", i, rng.key64("sample", 0, p.id, i)) for i in range(64)])
        ]
        for p in filler.problems(4)
    }
    expected = []
    for name in sorted(texts):
        decided = [t for t in texts[name] if not t.endswith("7")]
        right = sum(int(t) % 3 == 0 for t in decided)
        expected.append(CountRow(name, right, len(decided), 64 - len(decided)))
    assert store.counts("base") == expected
    assert sum(row.undecided for row in expected) > 0


def test_extending_adds_only_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=5, n=8)
    before = Store.open(tmp_path / "s").sql("SELECT * FROM samples ORDER BY problem_id, index")
    engine = Fake()
    done = filler.run(tmp_path / "s", count=5, n=32, engine=engine)
    assert done.sampled == len(engine.asked) == 5 * 24
    assert {i for _, i in engine.asked} == set(range(8, 32))
    store = Store.open(tmp_path / "s")
    assert store.sql("SELECT * FROM samples WHERE index < 8 ORDER BY problem_id, index").equals(before)
    filler.run(tmp_path / "whole", count=5, n=32)
    query = "SELECT problem_id, index, text FROM samples ORDER BY ALL"
    assert store.sql(query).equals(Store.open(tmp_path / "whole").sql(query))
    assert store.counts("base") == Store.open(tmp_path / "whole").counts("base")


def test_a_full_store_asks_nothing_and_writes_nothing(tmp_path: Path) -> None:
    filler.run(tmp_path / "s")
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "s").rglob("*.parquet"))
    engine, task = Fake(), Toy()
    done = filler.run(tmp_path / "s", engine=engine, task=task)
    assert (done.sampled, done.verified, engine.calls, task.verified, task.guessed) == (0, 0, [], 0, [])
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "s").rglob("*.parquet")) == before


def test_asking_for_fewer_keeps_what_is_there(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", n=8)
    assert filler.run(tmp_path / "s", n=2).sampled == 0
    assert all(row.n + row.undecided == 8 for row in Store.open(tmp_path / "s").counts("base"))


def test_a_new_verifier_judges_again_and_never_samples(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=3, n=10)
    engine, task = Fake(), Toy("toy-2")
    done = filler.run(tmp_path / "s", count=3, n=10, engine=engine, task=task)
    assert (done.sampled, done.verified, engine.calls, task.verified) == (0, 30, [], 30)
    store = Store.open(tmp_path / "s")
    with pytest.raises(InputError, match=r"verifier_version: .*toy-1, toy-2"):
        store.counts("base")
    assert store.counts("base", verifier_version="toy-1") == store.counts("base", verifier_version="toy-2")


def test_samples_without_verdicts_are_judged_from_disk(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=4, n=8)
    whole = Store.open(tmp_path / "s").counts("base")
    for part in sorted((tmp_path / "s" / "verdicts").iterdir())[1:]:
        part.unlink()
    half = Store.open(tmp_path / "s").counts("base")
    assert sum(row.unverified for row in half) == 16
    assert all(row.n + row.undecided + row.unverified == 8 for row in half)
    engine = Fake()
    done = filler.run(tmp_path / "s", count=4, n=8, engine=engine)
    assert (done.sampled, done.verified, engine.calls) == (0, 16, [])
    assert Store.open(tmp_path / "s").counts("base") == whole


def test_a_deleted_samples_file_is_sampled_and_judged_again(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=4, n=8)
    whole = Store.open(tmp_path / "s").counts("base")
    min((tmp_path / "s" / "samples").iterdir()).unlink()
    assert sum(row.n + row.undecided for row in Store.open(tmp_path / "s").counts("base")) == 16
    done = filler.run(tmp_path / "s", count=4, n=8)
    assert (done.sampled, done.verified) == (16, 16)  # the old verdicts of the lost samples do not count
    assert Store.open(tmp_path / "s").counts("base") == whole


def test_holes_are_filled_where_they_are(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=1, n=12, batch=4)
    first, engine = min((tmp_path / "s" / "samples").iterdir()), Fake()
    first.unlink()
    filler.run(tmp_path / "s", count=1, n=12, batch=4, engine=engine)
    assert [i for _, i in engine.asked] == [0, 1, 2, 3]


def test_chunks_keep_groups_together_and_never_exceed_the_batch(tmp_path: Path) -> None:
    engine = Fake()
    filler.run(tmp_path / "s", count=5, n=6, batch=16, engine=engine)
    assert engine.calls == [12, 12, 6]
    engine = Fake()
    filler.run(tmp_path / "large", count=2, n=40, batch=16, engine=engine)
    assert engine.calls == [16, 16, 8, 16, 16, 8] and len(set(engine.asked)) == 80


def test_chunks_do_not_change_what_is_drawn(tmp_path: Path) -> None:
    query = "SELECT problem_id, index, text, logprobs FROM samples ORDER BY problem_id, index"
    drawn = []
    for batch in (1, 7, 1000):
        filler.run(tmp_path / str(batch), count=3, n=5, batch=batch)
        drawn.append(Store.open(tmp_path / str(batch)).sql(query))
    assert drawn[0].equals(drawn[1]) and drawn[0].equals(drawn[2])


def test_guess_is_computed_once_for_each_problem(tmp_path: Path) -> None:
    first, second = Toy(), Toy()
    filler.run(tmp_path / "s", count=3, task=first)
    filler.run(tmp_path / "s", count=5, task=second)
    assert first.guessed == [p.id for p in filler.problems(3)]
    assert second.guessed == [p.id for p in filler.problems(5)[3:]]
    stored = Store.open(tmp_path / "s").problems()
    assert [row.problem.id for row in stored] == [p.id for p in filler.problems(5)]
    assert all(row.guess == 1 / 3 for row in stored)


def test_slow_guesses_are_saved_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offleash.sampling.fill._SAVE_SECONDS", 0.0)

    class Interrupted(Toy):
        def guess(self, problem):
            if len(self.guessed) == 3:
                raise KeyboardInterrupt
            return super().guess(problem)

    with pytest.raises(KeyboardInterrupt):
        filler.run(tmp_path / "s", count=6, task=Interrupted())
    assert len(Store.open(tmp_path / "s").problems()) == 3
    again = Toy()
    filler.run(tmp_path / "s", count=6, task=again)
    assert len(again.guessed) == 3


def test_an_unknown_guess_is_nan(tmp_path: Path) -> None:
    class Unknown(Toy):
        def guess(self, problem):
            return float("nan")

    filler.run(tmp_path / "s", count=1, task=Unknown())
    assert math.isnan(Store.open(tmp_path / "s").problems()[0].guess)


def test_a_guess_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    class Wrong(Toy):
        def guess(self, problem):
            return 1.5

    with pytest.raises(OffleashError, match=r"guess .* 1\.5"):
        filler.run(tmp_path / "s", task=Wrong())


def test_a_problem_that_moved_to_another_level_is_found_there(tmp_path: Path) -> None:
    moved = [type(p)(p.task, p.version, p.prompt, p.answer, 2, p.split, p.meta) for p in filler.problems(2)]
    filler.run(tmp_path / "s", count=2)
    store, engine = Store.open(tmp_path / "s"), Fake()
    fill(store, engine, Toy(), moved, model=filler.MODEL, n=8, settings=engine.settings(), seed=0, batch=8)
    assert engine.calls == [] and store.counts("base", level=1) == [] and len(store.counts("base", level=2)) == 2


def test_progress_begins_where_the_store_stands_and_ends_at_the_total(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=4, n=4)
    seen: list[tuple[int, int]] = []
    filler.run(tmp_path / "s", count=4, n=10, batch=12, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (16, 40) and seen[-1] == (40, 40)
    assert {total for _, total in seen} == {40}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (28, 40) in seen


def test_two_seeds_two_settings_and_two_models_live_side_by_side(tmp_path: Path) -> None:
    filler.run(tmp_path / "s", count=2, n=4)
    for more in ({"seed": 1}, {"engine": Fake(dtype="bfloat16")}, {"model": {"id": "other", "label": "other"}}):
        assert filler.run(tmp_path / "s", count=2, n=4, **more).sampled == 8
    store = Store.open(tmp_path / "s")
    assert sum(row.n + row.undecided for row in store.counts("other")) == 8
    with pytest.raises(InputError, match=r"sampler: .*must not be mixed"):
        store.counts("base", seed=0)
    with pytest.raises(InputError, match=r"seed: .*0, 1"):
        store.counts("base", sampler=next(k for k, v in store.samplers().items() if "dtype" not in v))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n, batch"),
        ({"batch": 0}, "n, batch"),
        ({"seed": 2**63}, "seed"),
        ({"model": {"label": "x"}}, "no id"),
    ],
)
def test_values_that_cannot_be_used_are_named(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        filler.run(tmp_path / "s", **options)


def test_a_problem_of_another_task_is_refused(tmp_path: Path) -> None:
    task = Toy()
    task.name = "other"
    with pytest.raises(InputError, match="is of task 'toy'; give problems of 'other'"):
        filler.run(tmp_path / "s", task=task)


def test_an_engine_that_answers_something_else_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    class Shuffled(Fake):
        def generate(self, requests, on_finished=None):
            return super().generate(requests, on_finished)[::-1]

    class Short(Fake):
        def generate(self, requests, on_finished=None):
            return super().generate(requests, on_finished)[:-1]

    for engine in (Shuffled(), Short()):
        with pytest.raises(OffleashError, match="not those asked for"):
            filler.run(tmp_path / "s", engine=engine)
    assert Store.open(tmp_path / "s").sql("SELECT * FROM samples").num_rows == 0


def test_a_verdict_of_another_version_is_refused(tmp_path: Path) -> None:
    class Lying(Toy):
        def verify(self, problem, text):
            return Toy("toy-0").verify(problem, text)

    with pytest.raises(OffleashError, match="version 'toy-0', the task says 'toy-1'"):
        filler.run(tmp_path / "s", task=Lying())


def test_texts_no_file_can_hold_are_judged_as_they_are_stored(tmp_path: Path) -> None:
    class Odd(Fake):
        def _complete(self, request):
            completion = super()._complete(request)
            return type(completion)(request.problem_id, request.index, "\ud800\x00é\U0001f600", (), (), (), "length")

    class Reads(Toy):
        def verify(self, problem, text):
            assert text == "\ufffd\x00é\U0001f600"
            return super().verify(problem, "3")

    filler.run(tmp_path / "s", count=1, n=1, engine=Odd(), task=Reads())
    assert Store.open(tmp_path / "s").rows("base").to_pylist()[0]["text"] == "\ufffd\x00é\U0001f600"


def test_the_fake_is_an_engine() -> None:
    assert isinstance(Fake(), Sampler)


def test_what_an_engine_had_finished_when_it_gave_up_is_kept(tmp_path: Path) -> None:
    class Tired(Fake):
        def generate(
            self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
        ) -> list[Completion]:
            raise Unfinished("endpoint: gone", super().generate(requests, on_finished)[3:5])

    with pytest.raises(Unfinished, match="gone"):
        filler.run(tmp_path / "s", count=2, n=8, engine=Tired())
    engine = Fake()
    done = filler.run(tmp_path / "s", count=2, n=8, engine=engine)
    assert (done.sampled, done.verified) == (14, 14)

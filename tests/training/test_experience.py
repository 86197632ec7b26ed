"""Where a step's experience comes from: pools of problems, demonstrations, dynamic sampling, reward arms."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from offleash import nn, tasks
from offleash.core import InputError, Problem, Verdict
from offleash.engines import SamplingSettings
from offleash.engines.native import NativeEngine
from offleash.jobs.inert import inert
from offleash.jobs.sample import fill_store
from offleash.training import TrainSettings, check
from offleash.training.demonstrations import make_demonstrations
from offleash.training.metrics import rollout_metrics
from offleash.training.problems import make_problems
from offleash.training.reward import rewarded
from offleash.training.rollout import Rollout, Source, collect
from offleash.training.settings import (
    ARMS,
    ExternalSettings,
    ObjectiveSettings,
    RewardSettings,
    RolloutSettings,
    TaskSettings,
)

COUNTDOWN = tasks.get("countdown")


def recipe(**changes: object) -> TrainSettings:
    settings = TrainSettings(
        steps=2,
        task=TaskSettings(levels=(3,)),
        rollout=RolloutSettings(num_prompts=4, num_generations=4, max_completion_length=20, rows=32),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base on 12 training problems of level 3, 8 samples each."""
    out = tmp_path_factory.mktemp("measured") / "store"
    fill_store(model="base", task="countdown", level=3, n=8, out=out, problems=12, label="base", split="train")
    return out


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    model, tokenizer = nn.load("base")
    return NativeEngine(model, tokenizer, SamplingSettings(1.0, 20), 64)


def source(settings: TrainSettings, engine: NativeEngine) -> Source:
    demonstrations = make_demonstrations(COUNTDOWN, settings)
    return Source(make_problems(COUNTDOWN, settings, demonstrations), engine, engine.tokenizer, demonstrations)


def drawn(settings: TrainSettings, steps: int) -> list[str]:
    problems = make_problems(COUNTDOWN, settings, None)
    return [p.id for step in range(steps) for p in problems.of_step(step)]


def test_one_example_and_a_small_pool() -> None:
    assert len(set(drawn(recipe(task=TaskSettings(levels=(3,), problems=1)), 3))) == 1
    ids = drawn(recipe(task=TaskSettings(levels=(3, 4), problems=4)), 4)
    first = [p.id for level in (3, 4) for p in islice(tasks.problems(COUNTDOWN, level, "train", 0), 4)]
    assert set(ids) == set(first)
    assert sorted(ids[:8]) == sorted(ids[8:]) == sorted(first)  # each once, then each again
    assert ids[:8] != ids[8:]


def test_problems_by_the_bases_success_rate(store: Path) -> None:
    place = f"{store}#base"
    from offleash.store import Store

    rates = {row.id: row.c / row.n for row in Store.open(store).counts("base")}
    hard = make_problems(COUNTDOWN, recipe(task=TaskSettings(levels=(3,), measured=place, rates=(0.0, 0.3))), None)
    easy = make_problems(COUNTDOWN, recipe(task=TaskSettings(levels=(3,), measured=place, rates=(0.31, 1.0))), None)
    assert {p.id for p in hard.pool} == {i for i, r in rates.items() if r <= 0.3}
    assert {p.id for p in hard.pool} | {p.id for p in easy.pool} == set(rates)
    with pytest.raises(InputError, match=r"task.measured: .* has no problem .* success rate in \[0.01, 0.02\]"):
        check(recipe(task=TaskSettings(levels=(3,), measured=place, rates=(0.01, 0.02))))
    with pytest.raises(InputError, match=r"task.measured: unknown model 'bsae'"):
        check(recipe(task=TaskSettings(levels=(3,), measured=f"{store}#bsae")))
    with pytest.raises(InputError, match=r"task.rates: chooses by a measured model"):
        recipe(task=TaskSettings(levels=(3,), rates=(0.0, 0.5)))


def test_another_models_completions_as_demonstrations(store: Path, engine: NativeEngine) -> None:
    settings = recipe(
        objective=ObjectiveSettings("rl-plus"), external=ExternalSettings(per_group=2, source=f"{store}#base")
    )
    check(settings)
    from offleash.store import Store

    right: dict[str, set[str]] = {}
    for row in Store.open(store).rows("base").to_pylist():
        if row["correct"]:
            right.setdefault(row["problem_id"], set()).add(row["text"])
    rollout = collect(source(settings, engine), 0)
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        external = [m for m in group if m.external]
        assert len(external) == 2
        assert {m.text for m in external} <= right[problem.id]
        assert all(m.solved for m in external)


def test_a_file_of_demonstrations_with_prompts_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "critiques.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"question {i}", "text": f"critique {i}"}) for i in range(5)))
    external = ExternalSettings(per_group=1, source=str(path))
    supervised = RolloutSettings(num_prompts=4, num_generations=0, max_completion_length=20)
    settings = recipe(objective=ObjectiveSettings("sft"), external=external, rollout=supervised)
    check(settings)
    demonstrations = make_demonstrations(COUNTDOWN, settings)
    assert demonstrations is not None
    problems = make_problems(COUNTDOWN, settings, demonstrations)
    assert {p.prompt for p in problems.pool} == {f"question {i}" for i in range(5)}
    ((text, verdict),) = demonstrations.of(problems.pool[2], 0, 0)
    assert (text, verdict.correct, verdict.reward) == ("critique 2", True, 1.0)
    with pytest.raises(InputError, match="cannot be verified"):
        check(replace(settings, rollout=replace(supervised, num_generations=4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ('{"prompt": "q"}', "row 1: text is None"),
        ('{"text": "t"}', "row 1: has neither id nor prompt"),
        ('{"prompt": "q", "text": "t"}\n{"prompt":', ":2: not JSON"),
        ('{"id": "x", "text": "t"}', "task.problems: 0"),
        ("[1]", ":1: a JSON list"),
        ('{"prompt": "q", "text": "t"}\n\n{"prompt": "q", "text": ""}', "row 3: text is ''"),
        ('{"id": "$ID", "text": "t"}\n{"prompt": "q", "text": "t"}', "row 2: has a prompt and no id, but other rows"),
        ('{"prompt": "q", "text": "t"}\n{"id": "$ID", "text": "t"}', "row 1: has a prompt and no id, but other rows"),
        ('{"id": "$ID", "text": "t"}\n{"text": "t"}', "row 2: has neither id nor prompt, but other rows"),
        (
            '{"id": "nowhere", "text": "t"}',
            "row 1: id 'nowhere' is none of the first task.problems = 3 .* seed 0; correct it",
        ),
        (f'{{"id": "$ID", "text": "{"1 + " * 300}"}}\n{{"id": "$ID", "text": "1"}}', "1 of 2 texts of .* exceed"),
        (b'{"prompt": "q", "text": "\xff"}', "not text in UTF-8"),
    ],
)
def test_bad_files_are_named(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    settings = recipe(objective=ObjectiveSettings("rl-plus"), external=ExternalSettings(1, str(path)))
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content.replace("$ID", first_problems(1)[0].id))
    if "task.problems: 0" not in message:
        settings = replace(settings, task=TaskSettings(levels=(3,), problems=3))
    with pytest.raises(InputError, match=message):
        check(settings)
    with pytest.raises(InputError, match="no file"):
        check(replace(settings, external=ExternalSettings(1, str(tmp_path / "none.jsonl"))))


def first_problems(count: int) -> list[Problem]:
    return list(islice(tasks.problems(COUNTDOWN, 3, "train", 0), count))


def test_parquet_files_and_byte_order_marks(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    one, two = first_problems(2)

    def texts_of(path: Path) -> dict[str, tuple[str, ...]]:
        external = ExternalSettings(1, str(path))
        settings = recipe(
            objective=ObjectiveSettings("rl-plus"), external=external, task=TaskSettings(levels=(3,), problems=2)
        )
        found = make_demonstrations(COUNTDOWN, settings)
        assert found is not None
        assert found.texts is not None
        return dict(found.texts)

    schema = pa.schema([("id", pa.string()), ("prompt", pa.string()), ("text", pa.string())])
    rows = [{"id": one.id, "text": "a"}, {"id": two.id, "text": "b"}, {"id": None, "prompt": "q", "text": "c"}]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.Table.from_pylist(rows[:2], schema), path)
    assert texts_of(path) == {one.id: ("a",), two.id: ("b",)}
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    with pytest.raises(InputError, match="row 3: has a prompt and no id"):
        texts_of(path)
    pq.write_table(pa.Table.from_pylist([], schema), path)
    with pytest.raises(InputError, match="has no rows"):
        texts_of(path)
    lines = tmp_path / "d.jsonl"
    lines.write_bytes(b"\xef\xbb\xbf" + f'{{"id": "{one.id}", "text": "a\u2028b"}}\r\n'.encode())
    assert texts_of(lines) == {one.id: ("a\u2028b",)}


def test_wrong_demonstrations_are_counted(engine: NativeEngine, tmp_path: Path) -> None:
    problems = first_problems(4)
    texts = [COUNTDOWN.gold(p, (0,)) if i else "no answer" for i, p in enumerate(problems)]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps({"id": p.id, "text": t}) for p, t in zip(problems, texts, strict=True)))
    settings = recipe(
        objective=ObjectiveSettings("rl-plus"),
        external=ExternalSettings(1, str(path)),
        task=TaskSettings(levels=(3,), problems=4),
    )
    check(settings)
    demonstrations = make_demonstrations(COUNTDOWN, settings)
    assert demonstrations is not None
    assert demonstrations.wrong() == (1, 4)
    (line,) = [line for line in inert(settings) if line.startswith("external.source")]
    assert "calls 1 of 4 demonstrations" in line
    shown = rollout_metrics(collect(source(settings, engine), 0), _zeros())  # four problems a step: all of them
    assert shown["external_accuracy"] == 0.75
    assert "external_accuracy" not in rollout_metrics(collect(source(recipe(), engine), 0), _zeros())


def test_dynamic_sampling_fills_with_groups_that_differ(engine: NativeEngine) -> None:
    plain = recipe(rollout=RolloutSettings(num_prompts=6, num_generations=4, max_completion_length=20, rows=64))
    one = collect(source(plain, engine), 3)
    many = collect(source(replace(plain, rollout=replace(plain.rollout, max_rounds=6)), engine), 3)

    def informative(rollout: Rollout) -> int:
        return sum(len({m.verdict.reward for m in group}) > 1 for group in rollout.groups)

    assert informative(one) < 6  # otherwise there is nothing to see here
    assert informative(many) == 6
    assert len(many.groups) == len(one.groups) == 6
    assert many.generated_groups % 6 == 0
    assert many.generated_groups > 6 == one.generated_groups
    # The first round is that of plain sampling: what it kept of it is the same to the token.
    kept = {p.id: [m.token_ids for m in g] for p, g in zip(many.problems, many.groups, strict=True)}
    for problem, group in zip(one.problems, one.groups, strict=True):
        if len({m.verdict.reward for m in group}) > 1:
            assert kept[problem.id] == [m.token_ids for m in group]


def verdict(correct: bool | None, answer: str) -> Verdict:
    return Verdict(correct, float(bool(correct)), answer, "", "", "v")


GROUP = [verdict(True, "7"), verdict(False, "5"), verdict(False, "5"), verdict(False, ""), verdict(None, "")]


def test_arms_by_hand() -> None:
    def paid(arm: str, gamma: float = 0.5) -> list[float]:
        return [v.reward for v in rewarded(GROUP, RewardSettings(arm, gamma), (0,))]

    assert paid("correct") == [1, 0, 0, 0, 0]
    assert paid("format") == [1, 1, 1, 0, 0]
    assert paid("majority") == [0, 1, 1, 0, 0]
    assert paid("incorrect") == [0, 1, 1, 0, 0]
    assert paid("random", 1.0)[:4] == [1, 1, 1, 1]
    assert paid("random", 0.0) == [0] * 5
    for arm in ARMS:  # what nobody could judge stays unjudged
        assert rewarded(GROUP, RewardSettings(arm), (0,))[4].correct is None
    draws = [v.reward for i in range(500) for v in rewarded(GROUP[:4], RewardSettings("random", 0.3), (i,))]
    assert abs(sum(draws) / 2000 - 0.3) < 4 * (0.21 / 2000) ** 0.5


def test_accuracy_stays_true_in_every_arm(engine: NativeEngine) -> None:
    found = {
        arm: rollout_metrics(collect(source(recipe(reward=RewardSettings(arm)), engine), 1), _zeros()) for arm in ARMS
    }
    assert len({m["accuracy"] for m in found.values()}) == 1
    assert found["correct"]["reward"] == found["correct"]["accuracy"]
    assert found["format"]["reward"] > found["correct"]["reward"]


def _zeros():
    import torch

    return torch.zeros(4, 4)

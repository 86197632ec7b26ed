"""Stores of episodes: what is on disk verifies to what was played, with every kind of engine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from offleash import nn, tasks
from offleash.core import InputError
from offleash.engines import Request, SamplingSettings
from offleash.engines.episodes import Player
from offleash.engines.hf import HfEngine
from offleash.engines.native import NativeEngine
from offleash.engines.openai import OpenAIEngine, Server
from offleash.sampling.fill import fill
from offleash.store import Store

TESTS = Path(__file__).parents[1]


def helper(folder: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


counting, loopback = helper("training", "counting"), helper("engines", "loopback")
WORLD = counting.COUNTING


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(counting.small_model(tmp_path_factory.mktemp("small") / "model"))


def filled(store: Store, sampler: Any, n: int) -> list[dict[str, Any]]:
    problems = list({p.id: p for p in (WORLD.generate(("fill", i), 2, "test") for i in range(8))}.values())
    assert len(problems) == 2  # up and down
    fill(store, sampler, WORLD, problems, model={"id": "m"}, n=n, settings=sampler.settings(), seed=3, batch=5)
    rows: list[dict[str, Any]] = store.rows("m").to_pylist()
    known = {p.id: p for p in problems}
    for row in rows:
        verdict = WORLD.verify(known[row["problem_id"]], row["text"])
        assert (verdict.correct, verdict.reward, verdict.answer) == (row["correct"], row["reward"], row["answer"])
    return rows


@pytest.mark.parametrize("engine", [NativeEngine, HfEngine])
def test_episodes_in_a_store_verify_to_the_same_verdict_and_extend(engine: Any, model: str, tmp_path: Path) -> None:
    sampler = engine(*nn.load(model), SamplingSettings(1.0, 4, (WORLD.turn_end,)), 32)
    few = filled(Store.create(tmp_path / "few"), sampler, 4)
    grown = Store.create(tmp_path / "grown")
    filled(grown, sampler, 2)
    rows = filled(grown, sampler, 4)
    assert len({row["problem_id"] for row in rows}) * 4 == len(rows)
    assert {(r["problem_id"], r["index"], r["text"]) for r in rows} == {
        (r["problem_id"], r["index"], r["text"]) for r in few
    }
    assert {row["correct"] for row in rows} == {True, False}


def test_a_server_plays_by_text(model: str, tmp_path: Path) -> None:
    weights, tokenizer = nn.load(model)
    sampling = SamplingSettings(1.0, 4, (WORLD.turn_end,))
    with loopback.Loopback(weights, tokenizer) as server:
        rows = filled(Store.create(tmp_path / "store"), OpenAIEngine(Server("small", (server.url,)), sampling), 3)
        bodies = list(server.bodies)
    later = [b["prompt"] for b in bodies if b["prompt"].count("> ") > 1]
    assert later and all(b["stop"] == ["\n"] for b in bodies)
    assert any("now" in prompt for prompt in later)
    assert len(rows) == 6


@pytest.mark.slow
def test_a_server_that_refuses_leaves_the_finished_episodes(model: str) -> None:
    weights, tokenizer = nn.load(model)
    problem = WORLD.generate(("fill", 0), 2, "test")
    with loopback.Loopback(weights, tokenizer) as server:
        engine = OpenAIEngine(Server("small", (server.url,)), SamplingSettings(1.0, 4, (WORLD.turn_end,)))
        player = Player(engine, WORLD, {problem.id: problem})
        requests = [Request(problem.id, problem.prompt, i, i + 1) for i in range(16)]
        whole = player.generate(requests)
        server.faults.extend([None] * 16 + [400] * 16)
        with pytest.raises(InputError, match="400") as refused:
            player.generate(requests)
    finished = getattr(refused.value, "finished")  # noqa: B009
    assert 0 < len(finished) < 16  # those that one turn solved
    assert [c.text for c in finished] == [whole[c.index].text for c in finished]


def test_the_command_stops_at_turns(model: str, tmp_path: Path) -> None:
    from offleash.jobs.sample import fill_store

    tasks.register(WORLD)
    try:
        fill_store(
            model=model,
            task="counting",
            level=2,
            n=3,
            out=tmp_path / "s",
            problems=2,
            label="m",
            max_completion_length=4,
        )
    finally:
        del tasks.base._TASKS["counting"]
    store = Store.open(tmp_path / "s")
    assert {tuple(s["stop"]) for s in store.samplers().values()} == {("\n",)}
    assert len(store.rows(store.model("m")["id"])) == 6

"""Training on worlds: what the model said trains, what the world said does not, whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import counting
import pytest
import torch
from counting import COUNTING, TAGGED, recipe, small_model
from safetensors.torch import load_file
from torch import Tensor

from offleash import nn, tasks
from offleash.core import InputError, Problem, Verdict, rng
from offleash.engines import Request, SamplingSettings
from offleash.engines.episodes import Player
from offleash.engines.hf import HfEngine
from offleash.engines.native import NativeEngine
from offleash.objectives import PRESETS, TokenBatch, get
from offleash.store import RunFolder
from offleash.tasks.base import _TASKS
from offleash.training import TrainSettings, check, train
from offleash.training.demonstrations import make_demonstrations
from offleash.training.groups import ends_of
from offleash.training.metrics import rollout_metrics
from offleash.training.problems import Problems
from offleash.training.references import References
from offleash.training.rollout import Rollout, Source, collect
from offleash.training.rows import Row, fields, row_masks
from offleash.training.settings import ExternalSettings, ObjectiveSettings, TaskSettings
from offleash.training.update import Updater


class Plain:
    """The same problems as COUNTING, as a task that is answered once."""

    name = "counting-plain"
    version, levels, verifier_version = COUNTING.version, COUNTING.levels, COUNTING.verifier_version

    def __getattr__(self, name: str) -> Any:
        return getattr(COUNTING, name)

    def generate(self, key: tuple[str | int, ...], level: int, split: str) -> Problem:
        return COUNTING.generate(key, level, split)

    def verify(self, problem: Problem, text: str) -> Verdict:
        return COUNTING.verify(problem, text)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for task in (COUNTING, TAGGED):
        tasks.register(task)
    _TASKS[Plain.name] = Plain()  # type: ignore[assignment]
    yield
    for name in (COUNTING.name, TAGGED.name, Plain.name):
        del _TASKS[name]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("small") / "model")


def player(folder: str, engine: type = NativeEngine, length: int = 4, world: Any = COUNTING, level: int = 3) -> Any:
    weights, tokenizer = nn.load(folder)
    problems = [world.generate(("p", i), level, "train") for i in range(3)]
    requests = [
        Request(p.id, p.prompt, 4 * j + i, rng.key64("test", j, i)) for j, p in enumerate(problems) for i in range(4)
    ]
    sampler = engine(weights, tokenizer, SamplingSettings(1.0, length, (world.turn_end,)), 32)
    return Player(sampler, world, {p.id: p for p in problems}), requests


def source(settings: TrainSettings) -> tuple[Source, Updater]:
    """What a phase makes, with plain gradient descent, so that a step shows the gradient."""
    weights, tokenizer = nn.load(settings.model)
    rollout, task = settings.rollout, tasks.get(settings.task.name)
    sampling = SamplingSettings(rollout.temperature, rollout.max_completion_length, (task.turn_end,))
    engine = NativeEngine(weights, tokenizer, sampling, rollout.rows)
    optimizer = torch.optim.SGD(weights.parameters(), lr=1.0)
    objective = get(settings.objective.name, **settings.objective.overrides)
    updater = Updater(weights, None, optimizer, objective, settings, 0)
    return Source(Problems(task, settings), engine, tokenizer), updater


def descended(settings: TrainSettings, rollout: Rollout | None = None) -> tuple[dict[str, Tensor], Rollout]:
    """How far one plain step moves each weight: minus the gradient."""
    made, updater = source(settings)
    before = {name: p.detach().clone() for name, p in updater.model.named_parameters()}
    rollout = rollout or collect(made, 0)
    rows, _ = updater.rows(rollout, made.problems.task, made.tokenizer)
    updater.update(rows, 0)
    return {name: p.detach() - before[name] for name, p in updater.model.named_parameters()}, rollout


def members(rollout: Rollout) -> list[Any]:
    return [member for group in rollout.groups for member in group]


def one_step(model: str, **changes: Any) -> TrainSettings:
    settings = recipe(model, **changes)
    optimizer = replace(settings.optimizer, learning_rate=1.0, minibatches=1, max_grad_norm=1e9)
    return replace(settings, optimizer=optimizer)


# ------------------------------------------------------------------------------------------------------------- playing


@pytest.mark.parametrize("engine", [NativeEngine, HfEngine])
def test_turns_go_on_from_the_tokens_that_were_sampled(model: str, engine: type) -> None:
    made, requests = player(model, engine)
    asked: list[list[Request]] = []
    generate = made.sampler.generate
    made.sampler.generate = lambda batch: asked.append(list(batch)) or generate(batch)
    played = made.play(requests)
    tokenizer = made.sampler.tokenizer
    assert asked[0] == requests and len(asked) > 3
    again = 0
    for turn, batch in enumerate(asked[1:], start=1):
        for request in batch:
            transcript = played[requests.index(_first(requests, request))].transcript
            said = [i for t in transcript.turns[1 : 1 + 2 * turn] for i in t.token_ids]
            assert request.ids == (*tokenizer(transcript.turns[0].text)["input_ids"], *said)
            again += tokenizer(request.prompt)["input_ids"] != list(request.ids)
            key = _first(requests, request).key
            assert request.key == rng.key64("turn", key, turn)
    assert again  # encoding the text again would have given other tokens somewhere
    for request, (completion, transcript) in zip(requests, played, strict=True):
        problem = made.problems[request.problem_id]
        assert COUNTING.verify(problem, completion.text) == transcript.verdict
        mine = [turn for turn in transcript.turns if turn.role == "model"]
        assert completion.token_ids == tuple(i for turn in mine for i in turn.token_ids)
        assert len(completion.logprobs) == len(completion.entropies) == len(completion.token_ids)


def _first(requests: list[Request], later: Request) -> Request:
    return next(r for r in requests if (r.problem_id, r.index) == (later.problem_id, later.index))


def test_an_episode_is_the_same_alone_and_among_others(model: str) -> None:
    made, requests = player(model)
    together = made.generate(requests)
    assert [made.generate([r])[0].token_ids for r in requests[::3]] == [c.token_ids for c in together[::3]]
    assert len({c.text for c in together}) > 6


def test_where_a_turn_is_cut_off_the_world_ends_it(model: str) -> None:
    made, requests = player(model, length=1)
    tokenizer = made.sampler.tokenizer
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    found = 0
    for completion, transcript in made.play(requests):
        for said, heard in zip(transcript.turns[1::2], transcript.turns[2::2], strict=True):
            spelled = list(said.token_ids) == newline
            found += not spelled
            text = tokenizer.decode(list(heard.token_ids))
            assert text.startswith("\n") is not spelled
        last = transcript.turns[-2].token_ids
        ended = [*last] in (newline, [tokenizer.eos_token_id])
        assert completion.finish_reason == ("stop" if ended else "length")
    assert found


def test_an_episode_that_outgrows_the_model_is_cut_off_with_a_reason(tmp_path: Path) -> None:
    prompt = COUNTING.generate(("p", 0), 3, "train").prompt
    made, requests = player(small_model(tmp_path / "m", positions=len(prompt) + 24))
    played = made.play(requests)
    cut = [(c, t) for c, t in played if len(t.steps) < 12 and not t.verdict.correct]
    assert cut
    for completion, transcript in cut:
        assert completion.finish_reason == "length"
        assert transcript.verdict.reason.endswith("not played to its end")
        assert COUNTING.verify(transcript.problem, completion.text) == transcript.verdict
    made, requests = player(small_model(tmp_path / "small", positions=len(prompt) - 2))
    with pytest.raises(InputError, match="exceed the model's context"):
        made.play(requests)


def test_an_engine_that_would_not_stop_at_a_turns_end_is_refused(model: str) -> None:
    weights, tokenizer = nn.load(model)
    with pytest.raises(InputError, match=r"stop: counting is played in turns that end with '\\n'"):
        Player(NativeEngine(weights, tokenizer, SamplingSettings()), COUNTING, {})


# ---------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("name", ["grpo", "dr-grpo"])
def test_the_gradient_is_that_of_the_models_own_tokens(model: str, name: str) -> None:
    """Against a loss written down here, from full forward passes over each episode."""
    moved, rollout = descended(one_step(model, name=name))
    weights, tokenizer = nn.load(model)
    loss = torch.zeros(())
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        rewards = torch.tensor([m.verdict.reward for m in group])
        scale = rewards.std() + 1e-6 if name == "grpo" else 1.0
        for member, advantage in zip(group, (rewards - rewards.mean()) / scale, strict=True):
            prompt = tokenizer(problem.prompt)["input_ids"]
            ids = torch.tensor([[*prompt, *member.token_ids]])
            logp = weights(input_ids=ids).logits[0].log_softmax(-1)
            mine = [t for t, said in enumerate(_said_by_model(member)) if said]
            total = sum(logp[len(prompt) + t - 1, member.token_ids[t]] for t in mine)
            loss = loss - advantage * total / (len(mine) if name == "grpo" else 4 * 4)
    (loss / len(members(rollout))).backward()
    assert any(float(p.grad.abs().max()) > 1e-4 for p in weights.parameters())
    for key, parameter in weights.named_parameters():
        torch.testing.assert_close(moved[key], -parameter.grad, rtol=1e-3, atol=2e-6)


def _said_by_model(member: Any) -> list[bool]:
    return [turn.role == "model" for turn in member.transcript.turns[1:-1] for _ in turn.token_ids]


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "gigpo", "dapo", "kl-cov", "rloo"])
def test_numbers_at_the_worlds_tokens_change_nothing(model: str, name: str) -> None:
    settings = one_step(model, name=name)
    made, updater = source(settings)
    rollout = collect(made, 0)
    rows, _ = updater.rows(rollout, made.problems.task, made.tokenizer)
    assert sum(not mine for row in rows for mine in row.mask or ()) > 20

    def gradient(rows: list[Row], number: float) -> list[Tensor]:
        for row in rows:
            for values in (row.old_logprobs, row.ref_logprobs, row.advantage):
                if isinstance(values, list):
                    values[:] = [v if mine else number for v, mine in zip(values, row.mask, strict=True)]
        batch = nn.pad([r.prompt for r in rows], [r.completion for r in rows], 0)
        logprobs, entropy = nn.score(updater.model, batch)
        given = fields(rows, updater.objective, torch.device("cpu"))
        mask = row_masks(rows)
        tokens = TokenBatch(
            logprobs=torch.where(mask, logprobs, logprobs + number),
            mask=mask, entropy=entropy, vocab_size=updater.model.config.vocab_size, **given,
        )  # fmt: skip
        if updater.objective.prepare_tokens or updater.objective.select is not None:
            tokens, _ = updater.objective.prepare(tokens, {})
        denominator = updater.objective.denominator(
            mask, advantages=given["advantages"], correct=given["correct"], group_ids=given["group_ids"],
            selected=tokens.selected, max_completion_length=updater.longest,
        )  # fmt: skip
        loss, _ = updater.objective.loss(tokens, denominator)
        return list(torch.autograd.grad(loss, list(updater.model.parameters())))

    first = gradient(rows, 0.0)
    assert any(g.abs().max() > 1e-5 for g in first)
    for number in (3.5, -50.0):
        assert all(torch.equal(a, b) for a, b in zip(first, gradient(rows, number), strict=True))


def test_lengths_and_metrics_count_the_models_tokens(model: str) -> None:
    made, updater = source(one_step(model))
    rollout = collect(made, 0)
    rows, _ = updater.rows(rollout, made.problems.task, made.tokenizer)
    for row, completion in zip(rows, rollout.completions, strict=True):
        assert row.length == len(completion.token_ids) <= len(row.completion)
        assert tuple(row.counted(row.old_logprobs)) == completion.logprobs
    assert row_masks(rows).sum() == sum(len(c.token_ids) for c in rollout.completions)
    assert updater.longest == 4 * 4
    metrics = updater.update(rows, 0)
    assert metrics["mismatch"] < 1e-4  # the trainer reads every token in the context that the engine read it in


def test_how_rows_are_split_changes_nothing(model: str) -> None:
    settings = one_step(model, name="dapo")
    whole, rollout = descended(settings)
    for size in (1, 3):
        parts, _ = descended(replace(settings, optimizer=replace(settings.optimizer, micro_batch_rows=size)), rollout)
        for key in whole:
            torch.testing.assert_close(parts[key], whole[key], rtol=1e-4, atol=1e-7)


def test_a_world_of_one_turn_is_a_plain_task(model: str) -> None:
    world = one_step(model, level=1)
    plain = replace(world, task=TaskSettings(name=Plain.name, levels=(1,)))
    (moved, episodes), (also, drawn) = descended(world), descended(plain)
    assert any(float(x.abs().max()) > 0 for x in moved.values())
    assert all(torch.equal(moved[key], also[key]) for key in moved)
    for one, other in zip(members(episodes), members(drawn), strict=True):
        assert (one.token_ids, one.logprobs, one.solved) == (other.token_ids, other.logprobs, other.solved)
    for one, other in zip(episodes.completions, drawn.completions, strict=True):
        assert replace(one, text=other.text) == other


def test_spans_of_text_are_found_in_the_right_turns(model: str) -> None:
    made, _ = source(one_step(model))
    for member in members(collect(made, 0)):
        ends = ends_of(made.tokenizer, member)
        assert len(ends) == len(member.token_ids) and ends == sorted(ends)
        at = 0
        for turn in member.turns:
            last = ends[at + len(turn.token_ids) - 1]
            at += len(turn.token_ids)
            assert member.text[:last].endswith(turn.text) or last == len(member.text[:last])


# ------------------------------------------------------------------------------------------------------------ the loop


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@cache
def played(model: str, task: str, level: int, shown: int) -> Rollout:
    """One rollout for all objectives; with demonstrations where they have a use for them."""
    settings = recipe(model, level=level, task=task)
    settings = replace(settings, external=ExternalSettings(per_group=shown))
    made, _ = source(settings)
    return collect(replace(made, demonstrations=make_demonstrations(tasks.get(task), settings)), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in PRESETS if n != "dro"])
def test_every_objective_trains_on_a_world(name: str, model: str) -> None:
    objective = get(name)
    task, level = (TAGGED.name, 3) if name == "rlvmr" else (COUNTING.name, 2)
    overrides = {"bundle_size": 2} if "bundle_size" in objective.settings else {}
    settings = recipe(model, level=level, name=name, task=task, **overrides)
    shown = 1 if objective.uses_external else 0
    chosen = replace(settings.task, strategic_grams=("d",))
    settings = replace(settings, external=ExternalSettings(per_group=shown), task=chosen)
    check(settings)
    made, updater = source(settings)
    updater.references = References(updater.model)
    before = [p.detach().clone() for p in updater.model.parameters()]
    rollout = played(model, task, level, shown)
    rows, advantages_PG = updater.rows(rollout, tasks.get(task), made.tokenizer)
    metrics = updater.update(rows, 0) | rollout_metrics(rollout, advantages_PG)
    assert any(not torch.equal(a, b) for a, b in zip(before, updater.model.parameters(), strict=True))
    assert 0.0 < metrics["grad_norm"] < 1e6
    assert metrics["turns"] > 1
    assert metrics["mismatch"] < 1e-3 or settings.optimizer.minibatches > 1


def test_an_objective_that_reads_what_no_world_gives_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="dro needs what task counting does not give"):
        check(recipe(model, name="dro"))


def test_a_resumed_run_is_the_same_to_the_bit(model: str, tmp_path: Path) -> None:
    settings = replace(recipe(model, name="gigpo"), steps=3)
    whole = RunFolder.create(tmp_path / "whole", "x: 1\n", {})
    half = RunFolder.create(tmp_path / "half", "x: 1\n", {})
    one = weights_of(train(settings, whole))
    train(replace(settings, steps=1), half)
    other = weights_of(train(settings, half, resume=True))
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert whole.metrics() == half.metrics()


def test_demonstrations_are_episodes_too(model: str) -> None:
    settings = replace(
        recipe(model, name="sft"), external=ExternalSettings(per_group=2), objective=ObjectiveSettings("sft")
    )
    made, _ = source(settings)
    rollout = collect(replace(made, demonstrations=make_demonstrations(COUNTING, settings)), 0)
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        shown = [m for m in group if m.external]
        assert [m.text for m in shown] == [COUNTING.gold(problem)] * 2
        for member in shown:
            text = made.tokenizer.decode([i for i, mine in zip(member.token_ids, member.mask, strict=True) if mine])
            unknown = "".join(c if c in "ud\n" else "<unk>" for c in "".join(COUNTING.game(problem).gold()))
            assert text.replace("\n", "") == unknown


def test_every_tagged_turn_has_its_kinds_and_steps(model: str) -> None:
    settings = one_step(model, level=3, task=TAGGED.name, name="rlvmr")
    weights, tokenizer = nn.load(model)
    engine = NativeEngine(weights, tokenizer, SamplingSettings(1.0, 4, (TAGGED.turn_end,)), 32)
    rollout = collect(Source(Problems(TAGGED, settings), engine, tokenizer), 0)
    for problem, group in zip(rollout.problems, rollout.groups, strict=True):
        for member in group:
            steps = TAGGED.steps(problem, member.text, member.verdict)
            assert len(steps) == len(member.transcript.steps) == max(member.steps) + 1
    assert counting.TAGGED is TAGGED

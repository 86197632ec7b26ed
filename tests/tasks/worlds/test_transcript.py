"""Episodes as text and tokens: what the world says is never trained on, and the objectives for agents can read the rest."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from offleash import tasks
from offleash.core import InputError
from offleash.objectives import get
from offleash.tasks.worlds import (
    HOUSEHOLD,
    HOUSEHOLD_TAGGED,
    REPAIR,
    Transcript,
    Turn,
    World,
    episode,
    episodes,
    tokens,
)
from offleash.training.episodes import Member
from offleash.training.groups import annotate, check_annotations
from offleash.training.rollout import Rollout


def letters(text: str) -> list[int]:
    return [ord(c) for c in text]


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def scripted(world: World, problem: tasks.base.Problem, *before: str) -> Transcript:
    """An episode that says `before`, then solves the problem."""
    said = iter([*before, *map(world.say, world.game(problem).gold())])
    return episode(world, problem, lambda _: next(said))


@pytest.mark.parametrize("world", [HOUSEHOLD, HOUSEHOLD_TAGGED, REPAIR], ids=lambda w: w.name)
def test_the_mask_holds_the_model_s_words_and_nothing_else(world: World) -> None:
    problem = world.generate((0,), 1, "train")
    transcript = scripted(world, problem, "fly away")
    found = tokens(transcript, letters)
    assert "".join(map(chr, found.prompt_ids)) == problem.prompt
    said = "".join(chr(i) for i, mine in zip(found.completion_ids, found.mask, strict=True) if mine)
    assert said == "".join(turn.text for turn in transcript.turns if turn.role == "model")
    heard = "".join(chr(i) for i, mine in zip(found.completion_ids, found.mask, strict=True) if not mine)
    assert heard == "".join(turn.text for turn in transcript.turns[2:-1] if turn.role == "world")
    assert transcript.completion.startswith("".join(map(chr, found.completion_ids)))
    assert [transcript.text[a:b] for a, b in transcript.spans("model")] == [
        t.text for t in transcript.turns if t.role == "model"
    ]
    assert sorted(set(found.steps)) == list(range(len(transcript.steps))) and found.steps == sorted(found.steps)
    assert transcript.verdict == world.verify(problem, transcript.completion)
    assert transcript.verdict is not None and transcript.verdict.correct is True


def test_sampled_tokens_are_kept_with_their_log_probs() -> None:
    problem = REPAIR.generate((0,), 1, "train")
    commands = iter(REPAIR.game(problem).gold())

    def policy(waiting: list[Transcript]) -> list[Turn]:
        return [Turn("model", next(commands), (1, 2, 3), (-0.5, -0.25, -1.0)) for _ in waiting]

    (transcript,) = episodes(REPAIR, [problem], policy)
    found = tokens(transcript, letters, end=7)
    mine = [i for i, m in zip(found.completion_ids, found.mask, strict=True) if m]
    assert mine == [1, 2, 3] * len(transcript.steps)  # not encoded again, no end token added
    known = [p for p, m in zip(found.logprobs, found.mask, strict=True) if m]
    assert known == [-0.5, -0.25, -1.0] * len(transcript.steps)
    assert all(math.isnan(p) for p, m in zip(found.logprobs, found.mask, strict=True) if not m)
    written = tokens(scripted(REPAIR, problem), letters, end=7)
    assert [m for i, m in zip(written.completion_ids, written.mask, strict=True) if i == 7] == [True] * len(
        transcript.steps
    )
    bad = transcript.turns[1]._replace(logprobs=(0.0,))
    with pytest.raises(InputError, match="1 log-probs for 3 tokens"):
        tokens(Transcript(problem, (transcript.turns[0], bad)), letters)


def test_replies_are_cut_where_a_turn_ends() -> None:
    problem = HOUSEHOLD_TAGGED.generate((0,), 1, "train")
    long = "<explore>so</explore><action>look</action>\nYou see everything.\n> <action>open fridge 1</action>"
    transcript = episode(HOUSEHOLD_TAGGED, problem, lambda _: long)
    assert transcript.turns[1].text == "<explore>so</explore><action>look</action>"
    assert {s.action for s in transcript.steps} == {"look"} and len(transcript.steps) == problem.meta["max_steps"]


def test_episodes_side_by_side_are_those_alone() -> None:
    problems = [*itertools.islice(tasks.problems(HOUSEHOLD, 1, "train", 0), 4), HOUSEHOLD.generate((9,), 2, "train")]
    golds = {p.id: HOUSEHOLD.game(p).gold() for p in problems}
    asked = []

    def policy(waiting: list[Transcript]) -> list[str]:
        asked.append(len(waiting))
        return [golds[t.problem.id][len(t.steps)] for t in waiting]

    together = episodes(HOUSEHOLD, problems, policy)
    assert together == [scripted(HOUSEHOLD, p) for p in problems]
    assert asked[0] == 5 and asked[-1] == 1
    with pytest.raises(InputError, match="gave 1 replies for 5 episodes"):
        episodes(HOUSEHOLD, problems, lambda _: ["look"])


def test_the_embedded_base_s_tokenizer_encodes_turns() -> None:
    tokenizer = AutoTokenizer.from_pretrained("src/offleash/models/countdown")
    problem = REPAIR.generate((1,), 1, "train")
    transcript = scripted(REPAIR, problem)

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    found = tokens(transcript, encode, end=tokenizer.eos_token_id)
    turns = transcript.turns[1:-1]
    sizes = [len(encode(t.text)) + (t.role == "model") for t in turns]
    assert len(found.mask) == sum(sizes)
    assert sum(found.mask) == sum(size for size, t in zip(sizes, turns, strict=True) if t.role == "model")


def rollout(world: World, problem: tasks.base.Problem, transcripts: list[Transcript]) -> tuple[Rollout, list]:
    tokenizer = bytes_tokenizer()
    found = [tokens(t, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]) for t in transcripts]
    members = [
        Member(tuple(f.completion_ids), None, t.verdict, external=False, text=t.completion)
        for f, t in zip(found, transcripts, strict=True)
    ]
    return Rollout([problem], [members], []), found


def test_rlvmr_reads_the_tagged_steps() -> None:
    world = HOUSEHOLD_TAGGED
    problem = world.generate((0,), 1, "train")
    repeats = episode(world, problem, lambda _: "<explore>?</explore><action>look</action>")
    wins = scripted(world, problem, "<explore>?</explore><action>look</action>", "look")
    objective = get("rlvmr")
    check_annotations(objective, world, ())
    made, found = rollout(world, problem, [wins, repeats])
    annotated = annotate(made, objective, world, bytes_tokenizer(), (), lambda a, b: [])
    groups = annotated.groups
    n = len(wins.steps)
    assert groups.step_rewards_PGS[0, 0, :n].tolist() == pytest.approx([1.0, -0.1] + [1.0] * (n - 2))
    assert groups.step_rewards_PGS[0, 1].tolist() == [1.0] + [0.0] * (len(repeats.steps) - 1)
    # The steps that the trainer finds for the tokens are those of the transcript.
    assert annotated.steps_N == [f.steps for f in found]
    advantages_PGS = objective.advantages(groups)
    assert torch.isfinite(advantages_PGS).all()
    explore = torch.tensor([1.0, 1.0] + [0.0] * (len(repeats.steps) - 1), dtype=torch.float64)
    wanted = (explore[0] - explore.mean()) / (explore.std(correction=0) + 1e-6)
    trajectory = 1 / (1 + 2e-6)
    assert advantages_PGS[0, 0, 0].item() == pytest.approx(0.5 * trajectory + 0.5 * wanted.item(), abs=1e-5)


def test_gigpo_compares_steps_from_the_same_state() -> None:
    world = HOUSEHOLD
    problem = world.generate((0,), 1, "train")
    wins, fails = scripted(world, problem, "look"), episode(world, problem, lambda _: "look")
    objective = get("gigpo")
    check_annotations(objective, world, ())
    made, found = rollout(world, problem, [wins, fails])
    annotated = annotate(made, objective, world, bytes_tokenizer(), (), lambda a, b: [])
    states = annotated.groups.step_states_PGS[0]
    n = len(wins.steps)
    assert states[0, 0] == states[0, 1] == states[1, 0] == states[1, 5] and len(set(states[0, :n].tolist())) == n - 1
    assert (
        annotated.groups.step_rewards_PGS[0, 0, n - 1] == 1.0 and annotated.groups.step_rewards_PGS[0, 1].sum() == 0.0
    )
    assert annotated.steps_N == [f.steps for f in found]
    advantages_PGS = objective.advantages(annotated.groups)
    assert advantages_PGS[0, 0, 1] > 0 > advantages_PGS[0, 1, 1]

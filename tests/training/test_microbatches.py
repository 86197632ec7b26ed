"""Which rows share a forward pass: little padding for models that pad, and the same gradient as ever."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, StableLmConfig, StableLmForCausalLM

from offleash import nn
from offleash.nn import packed
from offleash.objectives import get
from offleash.training import TrainSettings
from offleash.training import update as update_module
from offleash.training.microbatches import PADDING, by_length, group_by_group, least_computed
from offleash.training.processes import Processes
from offleash.training.rows import Row
from offleash.training.settings import ObjectiveSettings, OptimizerSettings, RolloutSettings
from offleash.training.update import Updater, make_optimizer

Rows = list[Row]


def draw(prompts: int, group: int, prompt: tuple[int, int], length: Callable[[random.Random], int]) -> Rows:
    """Rows with prompts of uniform length and completions of any distribution; log-probs and advantages are arbitrary."""
    source = random.Random(0)
    rows = []
    for p in range(prompts):
        text = [source.randrange(3, 31) for _ in range(source.randint(*prompt))]
        for _ in range(group):
            completion = [source.randrange(3, 31) for _ in range(length(source))]
            old = [-3.0 + source.random() for _ in completion]
            rows.append(Row(text, completion, old, source.choice([-1.0, 0.5, 1.5]), p, False, ref_logprobs=list(old)))
    return rows


def spread(source: random.Random) -> int:
    """Log-normal around 100 tokens, between 10 and 500."""
    return min(500, max(10, int(source.lognormvariate(math.log(100), 0.9))))


def slots(parts: list[Rows]) -> tuple[int, int]:
    """Computed token slots and those that are padding, by what the forward pass says of itself."""
    model = padding_model()
    found = [nn.slots(model, nn.pad([r.prompt for r in p], [r.completion for r in p], 0)) for p in parts]
    return sum(c for c, _ in found), sum(p for _, p in found)


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ((20, 20), 8),
        ((20, 20), 128),
        ((15, 25), 32),
        ((60, 150), 8),
        ((60, 150), 128),
        ((150, 400), 32),
        ((150, 400), 128),
    ],
)
def test_mixed_lengths_leave_little_padding(prompt: tuple[int, int], size: int) -> None:
    rows = draw(64, 8, prompt, spread)
    computed, padded = slots(group_by_group(rows, size))
    assert padded > 0.5 * computed  # without it, most of the work is padding
    parts = least_computed(rows, size)
    less, left = slots(parts)
    assert left <= PADDING * less < 0.1 * less
    assert less < computed
    assert sorted(map(id, rows)) == sorted(id(row) for part in parts for row in part)
    assert max(map(len, parts)) <= size
    assert [[id(r) for r in p] for p in least_computed(rows, size)] == [[id(r) for r in p] for p in parts]


@pytest.mark.parametrize(
    ("prompt", "size", "length"),
    [
        ((2000, 2000), 32, lambda source: source.randint(8, 12)),
        ((150, 400), 8, spread),  # a micro-batch is a group: its parts would each read a long prompt
    ],
)
def test_groups_stay_whole_where_that_computes_less(
    prompt: tuple[int, int], size: int, length: Callable[[random.Random], int]
) -> None:
    rows = draw(64, 8, prompt, length)
    assert least_computed(rows, size) == group_by_group(rows, size)
    assert slots(group_by_group(rows, size))[0] < slots([batch.rows for batch in by_length(rows, size)])[0]


def test_no_rows_no_passes() -> None:
    assert least_computed([], 4) == group_by_group([], 4) == []


SHAPE: dict[str, Any] = {"vocab_size": 31, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def padding_model() -> Any:
    torch.manual_seed(0)
    config = StableLmConfig(**SHAPE, intermediate_size=48, num_key_value_heads=4, max_position_embeddings=128)
    return StableLmForCausalLM(config).eval()


def packed_model() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=31, n_embd=32, n_layer=2, n_head=4, n_positions=128)).eval()


def settings_of(name: str, rows: int, **overrides: Any) -> TrainSettings:
    return TrainSettings(
        steps=1,
        objective=ObjectiveSettings(name, overrides),
        rollout=RolloutSettings(num_prompts=6, num_generations=5),
        optimizer=OptimizerSettings(micro_batch_rows=rows),
    )


def updated(model: Any, settings: TrainSettings, rows: Rows) -> tuple[torch.Tensor, dict[str, float], list[Rows]]:
    """The gradient of an update, its metrics, and the rows of each forward pass that had a gradient."""
    passes: list[Rows] = []
    objective = get(settings.objective.name, **settings.objective.overrides)
    updater = Updater(model, None, make_optimizer(model, settings), objective, settings, 0)
    caught: list[torch.Tensor] = []

    def keep(active: Rows, step: int) -> float:
        caught.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        return 0.0

    whole = updater._token_batch
    updater._apply = keep  # type: ignore[method-assign]
    updater._token_batch = lambda micro: passes.append(micro) or whole(micro)  # type: ignore[func-returns-value,method-assign,assignment]
    model.zero_grad()
    metrics = updater.update([replace(row) for row in rows], 0)
    return caught[0], metrics, passes


def short(source: random.Random) -> int:
    return min(60, max(1, int(source.lognormvariate(math.log(8), 1.0))))


@pytest.mark.parametrize(
    ("name", "overrides"), [("grpo", {}), ("dapo", {}), ("dr-grpo", {"kl_beta": 0.1}), ("80-20", {})]
)
def test_the_order_changes_padding_and_not_the_gradient(
    name: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = padding_model(), draw(6, 5, (3, 9), short)
    settings = settings_of(name, 6, **overrides)
    new, after, passes = updated(model, settings, rows)
    assert [r.group for p in passes for r in p] != sorted(r.group for r in rows)
    monkeypatch.setattr(update_module, "least_computed", group_by_group)
    old, before, _ = updated(model, settings, rows)
    torch.testing.assert_close(new, old, atol=1e-6, rtol=1e-4)
    assert after["padding"] <= PADDING
    assert before["padding"] > 0.3
    assert after["loss"] == pytest.approx(before["loss"], abs=1e-5)


def test_whole_groups_where_nothing_is_padded_or_an_objective_looks_at_the_micro_batch() -> None:
    rows = draw(6, 5, (3, 9), short)
    for model, settings in (
        (packed_model(), settings_of("grpo", 6)),
        (padding_model(), settings_of("80-20", 6, scope="micro-batch")),
    ):
        passes = updated(model, settings, rows)[2]
        expected = group_by_group(rows, 6)
        assert [[r.completion for r in p] for p in passes] == [[r.completion for r in p] for p in expected]
    assert packed.supported(packed_model(), 128)


class Meeting(Processes):
    """One of two processes in two threads."""

    brought: ClassVar[list[Any]] = [None, None]
    barrier = threading.Barrier(2)

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.count = rank, 2

    def gather(self, work: Callable[[], Any]) -> Any:
        self.brought[self.rank] = work()
        self.barrier.wait(20)
        return list(self.brought)


def test_each_row_gets_its_own_numbers_whichever_process_scored_it() -> None:
    model, rows, settings = padding_model(), draw(6, 5, (3, 9), short), settings_of("grpo", 6)

    def scored(processes: Processes) -> list[tuple[Row, list[float], list[float]]]:
        return Updater(model, None, make_optimizer(model, settings), get("grpo"), settings, 0, processes)._scored(
            model, rows
        )

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(scored, [Meeting(0), Meeting(1)]))
    for found in (scored(Processes()), *both):
        assert [row for row, _, _ in found] == rows
        for row, logprobs, _ in found:
            with torch.no_grad():
                expected, _ = nn.score(model, nn.pad([row.prompt], [row.completion], 0))
            assert logprobs == pytest.approx(expected[0].tolist(), abs=1e-5)

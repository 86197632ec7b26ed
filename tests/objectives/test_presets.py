"""`get`: names, settings, and what an objective says of itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from offleash.core import InputError
from offleash.objectives import PRESETS, Claims, Preset, advantage, describe, get, register, surrogate
from offleash.objectives.checks import example
from offleash.objectives.document import markdown, table, text


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("gropo", {}, "unknown objective 'gropo'; did you mean 'grpo'"),
        ("grpo", {"epsilon_hi": 0.3}, "unknown setting of grpo 'epsilon_hi'; did you mean 'epsilon_high'"),
        ("rloo", {"epsilon_high": 0.3}, "unknown setting of rloo 'epsilon_high'"),
        ("grpo", {"epsilon_high": "0.3"}, "epsilon_high: is '0.3'; grpo takes a number or null there"),
        ("grpo", {"reduction": 3}, "reduction: is 3; grpo takes a name"),
        ("grpo", {"kl_beta": None}, "kl_beta: is None; grpo takes a number there"),
        ("grpo", {"external_in_baseline": 1}, "external_in_baseline: is 1; grpo takes true or false"),
        ("grpo", {"kl_beta": True}, "kl_beta: is True"),
        ("grpo", {"reduction": "tokenmean"}, "unknown reduction 'tokenmean'; did you mean 'token-mean'"),
        ("grpo", {"surrogate": "ppoclip"}, "unknown surrogate 'ppoclip'; did you mean 'ppo-clip'"),
        ("grpo", {"advantage": "leave-one"}, "unknown advantage 'leave-one'; did you mean 'leave-one-out'"),
        ("clip-cov", {"scope": "batch"}, "unknown scope 'batch'"),
    ],
)
def test_get_names_what_is_wrong(name: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(name, **overrides)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("grpo", {"epsilon_high": -0.1}, "epsilon_high: is -0.1"),
        ("grpo", {"epsilon_low": float("nan")}, "epsilon_low: is nan"),
        ("grpo", {"dual_clip": 0.5}, "dual_clip: is 0.5"),
        ("rl-plus", {"gamma": -1.0}, "gamma: is -1.0"),
        ("rl-plus", {"uniform": "papr"}, "unknown uniform 'papr'; did you mean 'paper'"),
        ("luffy", {"shaping": 0.0}, "shaping: is 0.0"),
        ("gppo", {"boundary_low": -1.0}, "boundary_low: is -1.0"),
        ("kl-cov", {"kl_cov_ratio": 2.0}, "kl_cov_ratio: is 2.0; give a fraction"),
        ("grpo", {"std": "smaple"}, "unknown std 'smaple'; did you mean 'sample'"),
    ],
)
def test_get_names_a_setting_out_of_range(name: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(name, **overrides)


def test_settings_are_what_a_recipe_stores() -> None:
    for name, preset in PRESETS.items():
        objective = get(name)
        text = json.dumps(objective.settings)
        assert get(name, **json.loads(text)).settings == objective.settings
        assert set(objective.settings) == set(preset.defaults())
    assert get("grpo", epsilon_high=1).settings["epsilon_high"] == 1.0
    assert get("grpo", epsilon_high=None).settings["epsilon_high"] is None


def test_parts_can_be_exchanged() -> None:
    objective = get("grpo", advantage="leave-one-out", surrogate="gspo", epsilon_low=1e-3)
    assert objective.settings["epsilon_low"] == 1e-3
    assert "std" not in objective.settings
    assert objective.advantages(torch.tensor([[1.0, 0.0, 0.0]]))[0].tolist() == pytest.approx([1.0, -0.5, -0.5])


def test_an_objective_travels_to_another_process() -> None:
    e = example(PRESETS["rl-plus"])
    copy = pickle.loads(pickle.dumps(e.objective))
    assert copy.loss(e.batch, e.denominator)[0] == e.objective.loss(e.batch, e.denominator)[0]


def test_what_an_objective_says_of_itself() -> None:
    assert get("grpo").needs_old
    assert not get("rloo").needs_old
    assert not get("grpo").needs_ref
    assert get("grpo", kl_beta=0.04).needs_ref
    assert get("sft").needs_external
    assert not get("rl-plus").needs_external
    assert get("rl-plus").uses_external
    assert get("grpo").zero_advantage_is_zero_gradient
    assert not get("grpo", entropy_coef=0.01).zero_advantage_is_zero_gradient
    assert get("clip-cov").scope == "step"
    assert get("clip-cov", scope="micro-batch").scope == "micro-batch"
    assert get("grpo").scope is None


def test_names_are_taken_once() -> None:
    with pytest.raises(InputError, match="already registered"):
        register(PRESETS["grpo"])
    with pytest.raises(InputError, match="already registered"):
        advantage("reward")(lambda group: group.rewards_PG)


def test_a_setting_must_be_keyword_only_with_a_default() -> None:
    with pytest.raises(InputError, match="'size' must be keyword-only"):

        @surrogate("wrong")
        def wrong(batch, size):  # type: ignore[no-untyped-def]
            return batch.logprobs, {}


def test_a_row_with_a_setting_its_parts_do_not_have_is_refused() -> None:
    row = Preset(
        name="wrong-row",
        paper="",
        equation="",
        formula="",
        advantage="reward",
        surrogate="ppo-clip",
        reduction="token-mean",
        settings={"epsilon_hihg": 0.3},
        claims=Claims(),
    )
    with pytest.raises(InputError, match="did you mean 'epsilon_high'"):
        register(row)
    assert "wrong-row" not in PRESETS


def test_prepare_is_reproducible_and_does_nothing_where_there_is_nothing_to_prepare() -> None:
    e = example(PRESETS["clip-cov"], clip_cov_ratio=0.1, clip_cov_low=0.0)
    first, state = e.objective.prepare(e.batch, key=("run", 7))
    again, _ = e.objective.prepare(e.batch, key=("run", 7))
    other, _ = e.objective.prepare(e.batch, key=("run", 8))
    assert state == {}
    assert torch.equal(first.selected, again.selected)  # type: ignore[arg-type]
    assert not torch.equal(first.selected, other.selected)  # type: ignore[arg-type]
    plain = example(PRESETS["grpo"])
    assert plain.objective.prepare(plain.batch)[0] is plain.batch


def test_a_row_as_a_document() -> None:
    for name, preset in PRESETS.items():
        row = json.loads(json.dumps(describe(preset)))
        assert row["name"] == name
        assert row["settings"]["reduction"] == preset.reduction
        assert "micro-batches" in row["proven"]
    assert describe(PRESETS["kl-cov"])["needs"] == ["old_logprobs", "selected"]
    assert "unbiased" in describe(PRESETS["rloo"])["proven"]


def test_a_selection_that_was_not_made_is_an_error() -> None:
    from dataclasses import replace

    e = example(PRESETS["kl-cov"])
    with pytest.raises(InputError, match="selected: kl-cov needs it"):
        e.objective.loss(replace(e.batch, selected=None), e.denominator)


@pytest.mark.slow
def test_the_page_is_that_of_the_registry() -> None:
    page = Path(__file__).parents[2] / "docs" / "objectives.md"
    assert page.read_text() == markdown(), "run `make docs`"


def test_a_table_of_all_rows_and_one_row_in_full() -> None:
    lines = table(list(PRESETS.values())).splitlines()
    assert [line.split()[0] for line in lines[: len(PRESETS)]] == list(PRESETS)
    assert max(map(len, lines)) < 240
    for name, preset in PRESETS.items():
        found = text(preset)
        assert found.startswith(f"{name}\n  {preset.formula}\n")
        assert all(deviation in found for deviation in preset.deviations)

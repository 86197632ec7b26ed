"""Recipes: strict keys, strict types, errors a user can act on, and a dump that is the same run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offleash.core import InputError
from offleash.jobs.recipe import dump, load_recipe, parse_recipe


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Stage:
    steps: int
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass(frozen=True)
class Recipe:
    steps: int
    name: str = "run"
    mode: Literal["fast", "exact"] = "exact"
    verbose: bool = False
    levels: tuple[int, ...] = (2,)
    folder: Path | None = None
    shares: dict[int, float] = field(default_factory=lambda: {2: 1.0})
    free: dict[str, Any] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    reference: Optimizer | None = None
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps: {self.steps} is below 1")


def refuse(text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_recipe(text, Recipe, overrides, source="grpo.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_fill_what_the_recipe_leaves_out():
    assert parse_recipe("steps: 3", Recipe) == Recipe(steps=3)


def test_every_kind_of_field():
    recipe = parse_recipe(
        """
        steps: 3
        name: "3"
        mode: fast
        verbose: true
        levels: [1, 2, 3]
        folder: models/base
        shares: {1: 0.25, 2: 0.75}
        free: {kl_beta: 1e-3, on: no, deep: [1, {x: null}]}
        optimizer: {learning_rate: 3e-5}
        reference: {betas: [0, 1]}
        stages: [{steps: 1}, {steps: 2, optimizer: {learning_rate: 1}}]
        """,
        Recipe,
    )
    assert recipe == Recipe(
        steps=3,
        name="3",
        mode="fast",
        verbose=True,
        levels=(1, 2, 3),
        folder=Path("models/base"),
        shares={1: 0.25, 2: 0.75},
        free={"kl_beta": 1e-3, "on": "no", "deep": [1, {"x": None}]},
        optimizer=Optimizer(3e-5),
        reference=Optimizer(betas=(0.0, 1.0)),
        stages=(Stage(1), Stage(2, Optimizer(1.0))),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("+3.0e+2", 300.0), ("-.inf", -math.inf), ("7", 7.0)],
)
def test_numbers_are_those_of_yaml_1_2(text, value):
    """YAML 1.1, PyYAML's own reading, takes 1e-4 for text."""
    assert parse_recipe(f"{{steps: 1, optimizer: {{learning_rate: {text}}}}}", Recipe).optimizer.learning_rate == value


@pytest.mark.parametrize("text", ["no", "off", "yes", "1:30", "1_000", "2024-01-01", "=", "0x1F"])
def test_words_stay_words(text):
    assert parse_recipe(f"{{steps: 1, name: {text}}}", Recipe).name == text


def test_leading_zeros_are_decimal():
    assert parse_recipe("steps: 010", Recipe).steps == 10


def test_overrides_are_yaml_and_the_last_one_wins():
    overrides = ["optimizer.learning_rate=1e-3", "levels=[1, 3]", "name='7'", "free.a.b=true", "steps=4", "steps=5"]
    recipe = parse_recipe("{steps: 3, optimizer: {betas: [0, 0]}}", Recipe, overrides)
    assert recipe == Recipe(5, name="7", levels=(1, 3), free={"a": {"b": True}}, optimizer=Optimizer(1e-3, (0.0, 0.0)))


def test_an_unknown_key_names_its_path_its_file_and_the_closest_key():
    assert refuse("{steps: 1, optimizer: {learning_rat: 1}}") == (
        "grpo.yaml: unknown key 'optimizer.learning_rat'; did you mean 'learning_rate'?"
    )
    assert (
        refuse("{steps: 1, stages: [{steps: 1}, {step: 2}]}")
        == "grpo.yaml: unknown key 'stages.1.step'; did you mean 'steps'?"
    )
    assert (
        refuse("{steps: 1, reference: {beta: 1}}") == "grpo.yaml: unknown key 'reference.beta'; did you mean 'betas'?"
    )
    assert (
        refuse("{steps: 1, optimizer: {zzz: 1}}")
        == "grpo.yaml: unknown key 'optimizer.zzz' (known: betas, learning_rate)"
    )
    assert refuse("steps: 1", "optimizer.lr=3") == "override: unknown key 'optimizer.lr' (known: betas, learning_rate)"
    assert refuse("{steps: 1, 2: 3}").startswith("grpo.yaml: unknown key '2'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: ten", "grpo.yaml: steps: is 'ten'; input should be a valid integer"),
        ("steps: '3'", "grpo.yaml: steps: is '3'; input should be a valid integer"),
        ("steps: 3.0", "grpo.yaml: steps: is 3.0; input should be a valid integer"),
        ("steps: true", "grpo.yaml: steps: is True; input should be a valid integer"),
        ("{steps: 1, name: 3}", "grpo.yaml: name: is 3; input should be a valid string"),
        ("{steps: 1, verbose: 1}", "grpo.yaml: verbose: is 1; input should be a valid boolean"),
        ("{steps: 1, mode: slow}", "grpo.yaml: mode: is 'slow'; input should be 'fast' or 'exact'"),
        ("{steps: 1, optimizer: 3}", "grpo.yaml: optimizer: is 3; "),
        ("{steps: 1, optimizer: {betas: [1]}}", "grpo.yaml: optimizer.betas.1: is missing; add it"),
        ("steps: 1\noptimizer:\n", "grpo.yaml: optimizer: is empty; give a value or remove the line"),
        ("{name: a, verbose: 3}", "grpo.yaml: steps: is missing; add it (and 1 more)"),
        ("", "grpo.yaml: steps: is missing; add it"),
        ("- steps", "grpo.yaml: holds a list, not keys and values"),
        ("steps", "grpo.yaml: holds text, not keys and values"),
        ("steps: 0", "grpo.yaml: steps: 0 is below 1"),
    ],
)
def test_a_wrong_value_names_the_field_and_the_value(text, message):
    assert refuse(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("steps: 1\nname: [1", "line 2, column 9"),
        ("steps: 1\n\tname: a", "line 2, column 1"),
        ("steps: 1\nname: a\nsteps: 2", "line 3, column 1: key 'steps' twice"),
        ("steps: 1\noptimizer:\n  betas: [1, 2]\n  betas: [1, 3]", "line 4, column 3: key 'betas' twice"),
        ("steps: !!python/object/apply:os.system ['true']", "line 1, column 8: could not determine a constructor"),
        ("? [1]\n: 2", "line 1, column 3: a key that is not a name"),
    ],
)
def test_a_syntax_error_gives_the_line(text, where):
    assert refuse(text).startswith(f"grpo.yaml {where}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "override 'steps': is not KEY=VALUE or KEY.SUB=VALUE"),
        ("=3", "override '=3': is not KEY=VALUE"),
        ("optimizer..x=3", "override 'optimizer..x=3': is not KEY=VALUE"),
        ("levels=[1", "override 'levels=[1' line 1"),
        ("name.x=1", "override 'name.x': 'name' is text, which has no keys"),
        (
            "optimizer.learning_rate=fast",
            "override: optimizer.learning_rate: is 'fast'; input should be a valid number",
        ),
    ],
)
def test_a_wrong_override(override, message):
    assert refuse("{steps: 1, name: a}", override).startswith(message)


def test_a_file_that_cannot_be_read(tmp_path):
    missing = tmp_path / "none.yaml"
    with pytest.raises(InputError, match=r"recipe: no file '.*none\.yaml'; give the path of a YAML recipe"):
        load_recipe(missing, Recipe)
    with pytest.raises(InputError, match="is a folder; give a YAML file"):
        load_recipe(tmp_path, Recipe)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a text file in UTF-8"):
        load_recipe(tmp_path / "bytes.yaml", Recipe)


def test_a_file_that_can(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("steps: 3\nname: größer\n", encoding="utf-8")
    assert load_recipe(path, Recipe, ["steps=4"]) == Recipe(4, name="größer")


def test_dump_writes_every_default_out():
    assert dump(Recipe(2)).splitlines()[:5] == ["steps: 2", "name: run", "mode: exact", "verbose: false", "levels:"]
    assert "learning_rate: 0.0001" in dump(Recipe(2))


_floats = st.floats(allow_nan=False)
_text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["1e-4", "no", "null", "~", "", "010", "true", "- a"]
)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | _floats | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_optimizers = st.builds(Optimizer, _floats, st.tuples(_floats, _floats))


@pytest.mark.slow
@given(
    st.builds(
        Recipe,
        steps=st.integers(1, 10**9),
        name=_text,
        mode=st.sampled_from(["fast", "exact"]),
        verbose=st.booleans(),
        levels=st.lists(st.integers(-(2**63), 2**63 - 1)).map(tuple),
        folder=st.none() | st.sampled_from([Path("a/b"), Path("1")]),
        shares=st.dictionaries(st.integers(0, 99), _floats),
        free=st.dictionaries(_text, _plain),
        optimizer=_optimizers,
        reference=st.none() | _optimizers,
        stages=st.lists(st.builds(Stage, st.integers(), _optimizers)).map(tuple),
    )
)
def test_dump_loads_back_equal(recipe):
    assert parse_recipe(dump(recipe), Recipe) == recipe

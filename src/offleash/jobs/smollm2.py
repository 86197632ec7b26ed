"""`offleash demo --smollm2`: the demo's story with a language model that people have heard of, on sums of two numbers.

    weights -> measure the base -> train by each recipe -> measure what was trained -> study.json -> table, report.html, summary.json

One thing at a time, on all cores: at this size one process with two threads loses little. Every part finds on disk what it has
done before, so a run that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from offleash import report
from offleash.core import InputError
from offleash.jobs import sample, smollm2_weights, train
from offleash.jobs.display import progress, say
from offleash.jobs.recipe import load_recipe
from offleash.jobs.recipes import recipe_path
from offleash.store import Arm, Stratum, Study, write_study
from offleash.store.files import atomic_write, make_folder, require_writable
from offleash.training import TrainSettings

MARKER = "smollm2.json"
ANOTHER = "choose another folder or delete it"


@dataclass(frozen=True)
class Part:
    """A recipe, and the held-out problems of its task that every model is measured on."""

    label: str
    recipe: str
    stratum: str
    problems: int


@dataclass(frozen=True)
class Plan:
    """What is run."""

    title: str
    parts: tuple[Part, ...]
    samples: int = 64
    """Completions a problem."""
    ks: tuple[int, ...] = (1, 4, 16, 64)


PLAN = Plan(
    title="SmolLM2-135M-Instruct: what RLVR on sums does to a real language model",
    parts=(
        # The split has 47 different one-digit problems in all.
        Part("GRPO, one digit", "smollm2/one_digit_sums.yaml", "one-digit sums", 47),
        Part("GRPO, two digits", "smollm2/two_digit_sums.yaml", "two-digit sums", 40),
    ),
)


def run(out: Path, plan: Plan = PLAN, model: Path | None = None) -> Path:
    """Run it into `out`; returns the report's path.

    Args:
        out: study folder, new or one that holds this very plan.
        plan: what is run.
        model: a model folder in place of SmolLM2's, which is otherwise made from the package into `out`/model.

    Raises:
        InputError: the package with the weights, or reasoning-gym, is not installed; or `out` holds something else.
    """
    settings = {part.recipe: load_recipe(recipe_path(part.recipe), TrainSettings) for part in plan.parts}
    if model is None and not (out / "model" / "config.json").is_file() and (why := smollm2_weights.missing()):
        raise InputError(f"smollm2: {why}")
    _claim(out, plan)
    if model is None:
        say(f"weights: {out / 'model'}")
        model = smollm2_weights.convert(out / "model")
    settings = {recipe: replace(found, model=str(model)) for recipe, found in settings.items()}
    models = {"base": _measure(out, plan, settings, "base", model)}
    places = {part.label: _train(out, part, model) for part in plan.parts}
    models |= {label: _measure(out, plan, settings, label, place) for label, place in places.items()}
    write_study(_study(out, plan, settings, models))
    page = report.build(out)
    (out / "summary.json").write_text(json.dumps(report.summary(out), indent=1, sort_keys=True) + "\n")
    print(report.render_text(report.study_table(out)))
    print(f"report: {page}")
    return page


def _claim(out: Path, plan: Plan) -> None:
    """Take a new folder, or go on in one that holds this very plan."""
    require_writable(out)
    marker, text = out / MARKER, json.dumps(asdict(plan), indent=1) + "\n"
    if marker.is_file():
        if marker.read_text() != text:
            raise InputError(f"--out: {out} holds a run with other settings; {ANOTHER}")
        say(f"going on in {out}")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out: {out} holds something else; {ANOTHER}")
    make_folder(out)
    atomic_write(marker, text.encode())


def _train(out: Path, part: Part, model: Path) -> Path:
    """Train by a recipe, or go on with it; returns the trained model's folder."""
    folder = out / "runs" / _slug(part.label)
    if not (folder / "summary.json").is_file():
        train.run(recipe_path(part.recipe), [f"model={json.dumps(str(model))}"], resume=True, out=folder)
    return folder / str(json.loads((folder / "summary.json").read_text())["model"])


def _measure(out: Path, plan: Plan, settings: dict[str, TrainSettings], label: str, model: Path) -> str:
    """Sample a model on every part's problems, as its recipe samples; returns the model's id."""
    return [_fill(out, plan, part, settings[part.recipe], label, model) for part in plan.parts][-1]


def _fill(out: Path, plan: Plan, part: Part, settings: TrainSettings, label: str, model: Path) -> str:
    with progress(f"measure {label}: {part.stratum}", part.problems * plan.samples) as tell:
        filled = sample.fill_store(
            model=str(model),
            task=settings.task.name,
            level=settings.task.levels[0],
            problems=part.problems,
            n=plan.samples,
            out=out / "store",
            label=label,
            temperature=settings.rollout.temperature,
            max_completion_length=settings.rollout.max_completion_length,
            tell=lambda done, total: tell(done),
        )
    return filled.model


def _study(out: Path, plan: Plan, settings: dict[str, TrainSettings], models: dict[str, str]) -> Study:
    tasks = {part.stratum: settings[part.recipe].task for part in plan.parts}
    strata = tuple(Stratum(name, task.name, task.levels[0], "test") for name, task in tasks.items())
    arms = tuple(
        Arm(label, identity, None if label == "base" else out / "runs" / _slug(label))
        for label, identity in models.items()
    )
    return Study(out, plan.title, out / "store", "base", plan.ks, strata, arms)


def _slug(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split())

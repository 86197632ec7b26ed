"""`offleash demo`: train the embedded base with several objectives, measure all of them, write the report.

    plan -> two workers, one thread each: train an arm, then measure it -> study.json -> table, report.html, summary.json

Everything is on disk as soon as it exists, so a demo that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offleash import report
from offleash.core import InputError
from offleash.jobs.display import console
from offleash.jobs.recipes import recipe_path
from offleash.jobs.workers import Crew, Job
from offleash.store import Arm, Checkpoint, Stratum, Study, write_study
from offleash.store.files import make_folder, require_writable


@dataclass(frozen=True)
class ArmPlan:
    """One objective of the demo."""

    label: str
    recipe: str
    checkpoints: tuple[int, ...] = ()
    """Steps whose checkpoints are measured too."""


@dataclass(frozen=True)
class Plan:
    """What the demo runs."""

    title: str
    arms: tuple[ArmPlan, ...]
    strata: tuple[tuple[str, int, int], ...]
    """(name, level, problems) of each set of held-out problems."""
    samples: int
    """Completions a problem of every final model and the base."""
    checkpoint_problems: int
    """Problems of the first stratum for the models in between."""
    ks: tuple[int, ...] = (1, 8, 64, 256)


SHORT = Plan(
    title="countdown: what five minutes of RLVR do to a small model",
    arms=(
        ArmPlan("GRPO", "demo/grpo.yaml"),
        ArmPlan("RL-PLUS", "demo/rl-plus.yaml"),
        ArmPlan("GRPO-N", "demo/grpo-n.yaml"),
    ),
    strata=(("five numbers", 5, 100), ("seven numbers", 7, 40)),
    samples=256,
    checkpoint_problems=50,
)
FULL = Plan(
    title="countdown: RLVR on a small model, long runs",
    arms=(
        ArmPlan("GRPO", "countdown/grpo.yaml", (60, 120)),
        ArmPlan("GRPO-N", "countdown/grpo-n.yaml", (60, 120)),
        ArmPlan("RL-PLUS", "countdown/rl-plus.yaml", (60, 120)),
        ArmPlan("SFT on the same traces", "countdown/sft.yaml", (60, 120)),
    ),
    strata=(("five numbers", 5, 200), ("seven numbers", 7, 100)),
    samples=256,
    checkpoint_problems=100,
)


def run(out: Path, *, full: bool = False, plan: Plan | None = None) -> Path:
    """Run the demo into `out`; returns the report's path."""
    chosen = plan or (FULL if full else SHORT)
    _claim(out, chosen)
    models = _work(out, chosen)
    write_study(_study(out, chosen, models))
    page = report.build(out)
    rows = report.study_table(out)
    (out / "summary.json").write_text(json.dumps(report.summary(out), indent=1, sort_keys=True) + "\n")
    print(report.render_text(rows))
    print(f"report: {page}")
    return page


def _claim(out: Path, plan: Plan) -> None:
    """Take a new folder, or go on in one that holds this very demo."""
    require_writable(out)
    marker = out / "demo.json"
    text = json.dumps(asdict(plan), indent=1, sort_keys=True)
    if marker.is_file():
        if marker.read_text() != text:
            raise InputError(f"--out: {out} holds a demo with other settings; choose another folder or delete it")
        console().print(f"going on with the demo in {out}")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out: {out} holds something else; choose another folder")
    make_folder(out)
    marker.write_text(text)


def _work(out: Path, plan: Plan) -> dict[str, str]:
    """Train and measure everything; returns the model id of each measured label."""
    crew = Crew(workers=2)
    for level_name, level, count in plan.strata:
        crew.add(Job(f"measure base, {level_name}", "measure", _measure(out, plan, "base", "base", level, count)))
    for arm in plan.arms:
        folder = out / "runs" / _slug(arm.label)
        name = f"train {arm.label}"
        crew.add(Job(name, "train", {"recipe": str(recipe_path(arm.recipe)), "folder": str(folder)}))
        for level_name, level, count in plan.strata:
            work = _measure(out, plan, arm.label, str(folder), level, count)
            crew.add(Job(f"measure {arm.label}, {level_name}", "measure", work, after=name))
        for step in arm.checkpoints:
            label, path = f"{arm.label} @{step}", folder / "checkpoints" / f"step_{step}"
            work = _measure(out, plan, label, str(path), plan.strata[0][1], plan.checkpoint_problems)
            crew.add(Job(f"measure {label}", "measure", work, after=name))
    return crew.run()


def _measure(out: Path, plan: Plan, label: str, model: str, level: int, problems: int) -> dict[str, Any]:
    return {
        "store": str(out / "store"),
        "label": label,
        "model": model,
        "level": level,
        "problems": problems,
        "samples": plan.samples,
    }


def _study(out: Path, plan: Plan, models: dict[str, str]) -> Study:
    arms = [Arm("base", models["base"])]
    for arm in plan.arms:
        steps = tuple(Checkpoint(s, models[f"{arm.label} @{s}"]) for s in arm.checkpoints)
        arms.append(Arm(arm.label, models[arm.label], out / "runs" / _slug(arm.label), steps))
    strata = tuple(Stratum(name, "countdown", level, "test") for name, level, _ in plan.strata)
    return Study(out, plan.title, out / "store", "base", plan.ks, strata, tuple(arms))


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in label.lower())

"""`offleash pretrain`: a recipe becomes a model folder."""

from __future__ import annotations

from pathlib import Path

from offleash.core import InputError
from offleash.jobs.display import console, progress
from offleash.jobs.recipe import dump, load_recipe
from offleash.store.files import require_writable
from offleash.training import PretrainSettings, pretrain


def run(recipe: Path, overrides: list[str], *, out: Path | None = None, dry_run: bool = False) -> Path | None:
    """Pretrain by a recipe; returns the model folder (None for a dry run)."""
    settings = load_recipe(recipe, PretrainSettings, overrides)
    if dry_run:
        print(dump(settings), end="")
        return None
    folder = out or Path("runs") / recipe.stem
    require_writable(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out: {folder} is not empty; choose another folder")
    try:
        with progress("pretraining", settings.steps) as report:
            pretrain(settings, folder, on_step=lambda step, loss: report(step, f"loss {loss:.4f}"))
    finally:
        if (folder / "config.json").is_file():  # a model that was stopped early has its recipe beside it, too
            (folder / "recipe.yaml").write_text(dump(settings))
    console().print(f"model: {folder}")
    return folder

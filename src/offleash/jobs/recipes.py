"""Where the shipped recipes lie: `recipes/` of a checkout, or the copy inside an installed package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from offleash.core import InputError


def recipe_path(name: str) -> Path:
    """The path of a shipped recipe, for example `demo/grpo.yaml`."""
    package = Path(str(resources.files("offleash")))
    for root in (package / "recipes", package.parent.parent / "recipes"):
        if (root / name).is_file():
            return root / name
    raise InputError(f"recipe: there is no shipped recipe {name!r}")

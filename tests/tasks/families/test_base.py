"""The embedded base of the families: it loads by its name, reads their alphabet, and its recipe is the one beside it."""

from pathlib import Path

import pytest

from offleash import nn, tasks
from offleash.core import InputError
from offleash.jobs.recipe import load_recipe
from offleash.tasks.families import ALPHABET, Procedural
from offleash.training import PretrainSettings

RECIPES = Path(__file__).parents[3] / "recipes"
FAMILIES = {name for name in tasks.names() if isinstance(tasks.get(name), Procedural)}


def test_it_loads_by_its_name_and_reads_every_sign() -> None:
    model, tokenizer = nn.load("base:families")
    ids = tokenizer(ALPHABET, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids and len(set(ids)) == len(ALPHABET)
    shape = load_recipe(RECIPES / "families_base.yaml", PretrainSettings, []).model
    assert nn.build(shape, 0)[0].num_parameters() == model.num_parameters() == 861_056
    folders = {nn.model_folder(name) for name in nn.EMBEDDED_MODELS}
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 12e6
    with pytest.raises(InputError, match="an embedded one: base, base:families"):
        nn.model_folder("base:nothing")


@pytest.mark.parametrize("size", ["", "_medium", "_large"])
def test_recipes_read_all_families(size: str) -> None:
    settings = load_recipe(RECIPES / f"families_base{size}.yaml", PretrainSettings, [])
    assert settings.model.alphabet == ALPHABET and settings.split == "pretrain"
    for stage in settings.stages:
        shares = stage.shares("")
        assert {name for name, _, _ in shares} == FAMILIES
        assert all(level in tasks.get(name).levels for name, level, _ in shares)

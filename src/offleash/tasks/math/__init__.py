"""Mathematics with short answers, from data sets; verified by math-verify in a worker, and numerically for audits."""

from functools import partial

from offleash.tasks.base import Family, register_family
from offleash.tasks.math.datasets import DATA_SETS, DataSet
from offleash.tasks.math.task import MathTask, make

__all__ = ["DATA_SETS", "DataSet", "MathTask"]

for _data in DATA_SETS.values():
    register_family(
        Family(
            name=_data.name,
            about=_data.about,
            needs=f"data: {_data.folder}/ below OFFLEASH_DATA, {_data.name}:FOLDER, or {_data.name}:hub",
            source=f"{_data.hub[0]} ({_data.license})",
            make=partial(make, _data),
        )
    )

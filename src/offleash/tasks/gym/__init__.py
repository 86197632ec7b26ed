"""The data sets of reasoning-gym as tasks: `reasoning-gym/NAME`. Needs the extra of that name."""

from offleash.tasks.base import Family, register_family
from offleash.tasks.gym.task import PREFIX, SUCCESS, ReasoningGym, datasets

__all__ = ["SUCCESS", "ReasoningGym", "datasets"]


def _make(member: str, place: str) -> ReasoningGym:
    return ReasoningGym(member if not place else f"{member}:{place}", success=SUCCESS)


register_family(
    Family(
        name=PREFIX,
        about="procedural puzzles, from arithmetic to sokoban; right where the data set's own score is 1",
        needs="pip install 'offleash[reasoning-gym]'",
        source="github.com/open-thought/reasoning-gym (Apache-2.0)",
        make=_make,
        members=datasets,
    )
)

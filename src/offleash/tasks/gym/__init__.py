"""The data sets of reasoning-gym as tasks: `reasoning-gym/NAME`, or `reasoning-gym/NAME:KEY=VALUE,...`. Needs the extra of that name."""

from offleash.tasks.base import Family, register_family
from offleash.tasks.gym.task import PREFIX, SUCCESS, ReasoningGym, datasets
from offleash.tasks.gym.variant import read

__all__ = ["SUCCESS", "ReasoningGym", "datasets"]


def _make(member: str, place: str) -> ReasoningGym:
    return ReasoningGym(member, success=SUCCESS, variant=read(place))


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

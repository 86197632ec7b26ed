"""Worlds that are played in several turns: a text household, and a program to repair."""

from offleash.tasks.base import register
from offleash.tasks.worlds.episode import Episode, EpisodeError, Result, Step
from offleash.tasks.worlds.household import HouseholdRules
from offleash.tasks.worlds.repair import RepairRules
from offleash.tasks.worlds.rules import Acted, Drawn, Game, Rules
from offleash.tasks.worlds.tags import Reply, parse
from offleash.tasks.worlds.transcript import Playing, Tokens, Transcript, Turn, episode, episodes, read, tokens
from offleash.tasks.worlds.world import World

HOUSEHOLD = register(World(HouseholdRules()))
HOUSEHOLD_TAGGED = register(World(HouseholdRules(), tagged=True))
REPAIR = register(World(RepairRules()))
REPAIR_TAGGED = register(World(RepairRules(), tagged=True))

__all__ = [
    "HOUSEHOLD",
    "HOUSEHOLD_TAGGED",
    "REPAIR",
    "REPAIR_TAGGED",
    "Acted",
    "Drawn",
    "Episode",
    "EpisodeError",
    "Game",
    "HouseholdRules",
    "Playing",
    "RepairRules",
    "Reply",
    "Result",
    "Rules",
    "Step",
    "Tokens",
    "Transcript",
    "Turn",
    "World",
    "episode",
    "episodes",
    "parse",
    "read",
    "tokens",
]

"""Shortest paths.

    prompt  "path ab ad bc ce df fg:a>e="
        direct  "abce"
        layers  "1=bd;2=cf;3=eg>abce"
        code    "[bd][cf][eg]>abce"

Edges go both ways. Each problem has one shortest path. A derivation searches in breadth: layer i holds the nodes i steps away
from the start, up to the layer that the end is in.

Names are given to the nodes at random. So for one who does not read the edges, all sequences of other nodes between the two
ends are as likely: `guess` is exact, even if he knows how long the path is. One who follows edges without looking ahead does
far better: `walk` is his chance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from offleash.core import Problem
from offleash.tasks.base import register
from offleash.tasks.families.family import MAX_CHARS, Drawn, Format, Procedural, StepOf

NAMES = "abcdefghijkl"


class Size(NamedTuple):
    """Of the graphs of a level."""

    nodes: int
    edges: int
    steps: int
    """Length of the shortest path."""


SIZES = {1: Size(9, 10, 3), 2: Size(11, 13, 4), 3: Size(11, 14, 5), 4: Size(12, 15, 6)}

Neighbours = dict[str, set[str]]


def neighbours(edges: Sequence[str]) -> Neighbours:
    """The nodes next to each node, of edges such as "ab"."""
    found: Neighbours = {}
    for edge in edges:
        found.setdefault(edge[0], set()).add(edge[1])
        found.setdefault(edge[1], set()).add(edge[0])
    return found


def layers(graph: Neighbours, start: str) -> list[str]:
    """The nodes 1, 2, ... steps away from the start, each layer sorted."""
    found, seen, last = [], {start}, {start}
    while last := set[str]().union(*(graph[node] for node in last)) - seen:
        seen |= last
        found.append("".join(sorted(last)))
    return found


def walk(graph: Neighbours, start: str, end: str, steps: int) -> float:
    """The chance to get there in so many steps along edges drawn at random, no node twice."""

    def onwards(node: str, seen: str, left: int) -> float:
        if node == end or not left:
            return float(node == end and not left)
        free = [other for other in graph[node] if other not in seen]
        return sum(onwards(other, seen + other, left - 1) for other in free) / max(len(free), 1)

    return onwards(start, start, steps)


def canonical(graph: Neighbours, start: str, end: str) -> str:
    """A text that is the same however the nodes are named: how far each and its neighbours are from both ends.

    Two graphs that differ may share it; then they share the split, which does no harm.
    """
    away: list[dict[str, int]] = []
    for node in (start, end):
        away.append({node: 0} | {other: i for i, layer in enumerate(layers(graph, node), 1) for other in layer})
    kind = {node: 16 * away[0][node] + away[1][node] for node in graph}
    return str(sorted((kind[node], sorted([kind[other] for other in graph[node]])) for node in graph))


def _random_edges(size: Size, generator: np.random.Generator) -> set[tuple[int, int]] | None:
    """A path of nodes 0, 1, ... of the wanted length, other nodes hung on at random, and more edges; None if unlucky.

    No edge makes a way shorter, and none gives a node of the path a second way: the path is the shortest, alone.
    """
    away = list(range(size.steps + 1))
    edges = {(i, i + 1) for i in range(size.steps)}
    for node in range(size.steps + 1, size.nodes):
        other = int(generator.integers(node))
        edges.add((other, node))
        away.append(away[other] + 1)
    for a, b in generator.integers(size.nodes, size=(8 * size.edges, 2)).tolist():
        near, far = sorted((a, b), key=away.__getitem__)
        apart = away[far] - away[near]
        if a < b and (apart == 0 or (apart == 1 and far > size.steps)):
            edges.add((a, b))
            if len(edges) == size.edges:
                return edges
    return None


def _direct(problem: Problem, generator: np.random.Generator) -> str:
    return problem.answer


def _layers(problem: Problem, generator: np.random.Generator) -> str:
    return ";".join(GRAPH.operations(problem)) + ">" + problem.answer


def _code(problem: Problem, generator: np.random.Generator) -> str:
    return "".join(f"[{step.partition('=')[2]}]" for step in GRAPH.operations(problem)) + ">" + problem.answer


class Graph(Procedural):
    """The family. Levels differ in the number of nodes and edges and in the length of the path; see `SIZES`."""

    name = "graph"
    levels = tuple(SIZES)
    main_level = 2
    about = "the shortest path between two nodes of a small graph"
    formats = (
        Format("direct", 0.6, _direct, re.compile(r"(?P<answer>[a-l]{2,12})")),
        Format("layers", 0.3, _layers, re.compile(r"[1-9]=[a-l]{1,11}(?:;[1-9]=[a-l]{1,11})*>(?P<answer>[a-l]{2,12})")),
        Format("code", 0.1, _code, re.compile(r"(?:\[[a-l]{1,11}\])+>(?P<answer>[a-l]{2,12})")),
    )

    def draw(self, level: int, generator: np.random.Generator) -> Drawn | None:
        """See `Procedural.draw`."""
        size = SIZES[level]
        drawn = _random_edges(size, generator)
        if drawn is None:
            return None
        name = [NAMES[i] for i in generator.permutation(size.nodes)]
        edges = sorted("".join(sorted(name[a] + name[b])) for a, b in drawn)
        start, end = name[0], name[size.steps]
        content = canonical(neighbours(edges), start, end)
        prompt = f"path {' '.join(edges)}:{start}>{end}="
        return Drawn(prompt, "".join(name[: size.steps + 1]), content, {"edges": edges, "start": start, "end": end})

    def operations(self, problem: Problem) -> list[str]:
        """See `HasOperations.operations`: each layer of the search, as "2=cf"."""
        meta = problem.meta
        found = layers(neighbours(meta["edges"]), meta["start"])
        return [f"{i}={nodes}" for i, nodes in enumerate(found[: len(problem.answer) - 1], 1)]

    def guess(self, problem: Problem) -> float:
        """See `Task.guess`: every sequence of other nodes of the right length is as likely."""
        inner = len(problem.answer) - 2
        return 1 / math.perm(len(neighbours(problem.meta["edges"])) - 2, inner)

    def steps_of(self, problem: Problem, text: str) -> list[StepOf]:
        """See `Procedural.steps_of`; the order of a layer's nodes does not matter, and brackets count layers."""
        found = []
        for step in super().steps_of(problem, text[:MAX_CHARS]):
            layer, _, nodes = step.operation.rpartition("=")
            found.append(step._replace(operation=f"{layer}={''.join(sorted(nodes))}"))
        for i, piece in enumerate(re.finditer(r"\[([a-l]{1,11})\]", text[:MAX_CHARS]), 1):
            found.append(StepOf(piece.start(), piece.start(), piece.end(), f"{i}={''.join(sorted(piece[1]))}"))
        return found


GRAPH = Graph()
register(GRAPH)

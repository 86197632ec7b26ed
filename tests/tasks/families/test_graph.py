"""Shortest paths, against powers of the adjacency matrix and against every sequence of nodes."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from offleash.core import Problem, rng
from offleash.tasks.families.graph import GRAPH, SIZES, canonical, layers, neighbours, walk

PROMPT = re.compile(r"path ([a-l]{2}(?: [a-l]{2})*):([a-l])>([a-l])=")


def drawn(level: int, count: int, split: str = "test") -> list[Problem]:
    return [GRAPH.generate(("graph", i), level, split) for i in range(count)]


def read(prompt: str) -> tuple[list[str], str, str]:
    found = PROMPT.fullmatch(prompt)
    assert found
    return found[1].split(), found[2], found[3]


def ways(edges: list[str], start: str, length: int) -> dict[str, int]:
    """In how many ways each node is reached by so many steps: a power of the adjacency matrix."""
    nodes = sorted({node for edge in edges for node in edge})
    matrix = np.array([[int(a + b in edges or b + a in edges) for b in nodes] for a in nodes])
    row = np.linalg.matrix_power(matrix, length)[nodes.index(start)]
    return dict(zip(nodes, row.tolist(), strict=True))


@pytest.mark.parametrize("level", GRAPH.levels)
def test_the_answer_is_the_only_shortest_path(level: int) -> None:
    size = SIZES[level]
    for problem in drawn(level, 15):
        edges, start, end = read(problem.prompt)
        assert len(edges) == len(set(edges)) == size.edges and len({n for edge in edges for n in edge}) == size.nodes
        counts = [ways(edges, start, length)[end] for length in range(size.steps + 1)]
        assert counts == [0] * size.steps + [1]
        path = problem.answer
        assert path[0] == start and path[-1] == end and len(path) == size.steps + 1
        assert all("".join(sorted(step)) in edges for step in map("".join, itertools.pairwise(path)))


@pytest.mark.parametrize("level", GRAPH.levels)
def test_operations_are_the_layers_of_the_search(level: int) -> None:
    for problem in drawn(level, 10):
        edges, start, _ = read(problem.prompt)
        seen, wanted = {start}, []
        for i in range(1, len(problem.answer)):
            layer = {node for node, count in ways(edges, start, i).items() if count} - seen
            seen |= layer
            wanted.append(f"{i}={''.join(sorted(layer))}")
        assert GRAPH.operations(problem) == wanted


def test_of_all_sequences_of_nodes_one_is_right_as_the_guess_says() -> None:
    for level in (1, 2):
        problem = drawn(level, 1)[0]
        edges, start, end = read(problem.prompt)
        others = {node for edge in edges for node in edge} - {start, end}
        every = [start + "".join(inner) + end for inner in itertools.permutations(others, len(problem.answer) - 2)]
        right = sum(GRAPH.verify(problem, text).correct is True for text in every)
        assert GRAPH.guess(problem) == pytest.approx(right / len(every)) and right == 1


def test_a_walk_along_edges_has_the_chance_that_is_told() -> None:
    generator = rng.stream("walks")
    for problem in drawn(2, 3):
        edges, start, end = read(problem.prompt)
        graph, hits, tries = neighbours(edges), 0, 2000
        for _ in range(tries):
            path = start
            while path[-1] != end and (free := sorted(graph[path[-1]] - set(path))):
                path += free[int(generator.integers(len(free)))]
            hits += path == problem.answer
        exact = walk(graph, start, end, len(problem.answer) - 1)
        assert abs(hits / tries - exact) < 4 * (exact * (1 - exact) / tries) ** 0.5
        assert exact > 10 * GRAPH.guess(problem)  # reading edges without looking ahead is no blind guess


def test_names_of_nodes_do_not_decide_the_split() -> None:
    generator = rng.stream("renamed")
    contents = set()
    for problem in drawn(2, 20):
        edges, start, end = read(problem.prompt)
        content = canonical(neighbours(edges), start, end)
        names = "abcdefghijk"
        table = str.maketrans(names, "".join(names[i] for i in generator.permutation(len(names))))
        other = [edge.translate(table)[::-1] for edge in reversed(edges)]
        assert canonical(neighbours(other), start.translate(table), end.translate(table)) == content
        contents.add(content)
    assert len(contents) > 15  # and it does tell graphs apart
    assert GRAPH.draw(2, rng.stream("content")) is not None


def test_layers_count_whatever_the_order_in_them_and_wrong_ones_do_not() -> None:
    problem = Problem("graph", "1", "path ab ad bc ce df fg:a>e=", "abce", 1, "test", {
        "edges": ["ab", "ad", "bc", "ce", "df", "fg"], "start": "a", "end": "e"})  # fmt: skip
    golds = {form: GRAPH.gold_in(problem, form) for form in GRAPH.format_shares}
    assert golds == {"direct": "abce", "layers": "1=bd;2=cf;3=eg>abce", "code": "[bd][cf][eg]>abce"}
    assert layers(neighbours(problem.meta["edges"]), "a") == ["bd", "cf", "eg"]
    assert GRAPH.performed(problem, "1=db;2=fc;3=eg>abce") == ["1=bd", "2=cf", "3=eg"]
    assert GRAPH.performed(problem, "1=b;2=cf>abce") == ["2=cf"]
    assert GRAPH.performed(problem, "[db][c]>abce") == ["1=bd"] and GRAPH.performed(problem, "abce") == []
    assert GRAPH.planning(problem, "1=bd;2=cf>abce") == [(0, 1), (5, 6)]
    assert GRAPH.verify(problem, "1=b>abce").correct is True  # the answer counts
    for wrong in ("adfe", "abcee", "abc", "ecba", "a>b>c>e", "abce abce", "abce>abce", "ABCE", "[]>abce", ">abce", ""):
        assert GRAPH.verify(problem, wrong).correct is False, wrong

"""Countdown: the generator, the exact counts, the splits and the chance baseline."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from offleash import tasks
from offleash.core import InputError, rng
from offleash.tasks.countdown import LEVELS, split_of
from offleash.tasks.countdown_exact import Counter
from offleash.tasks.expressions import INVALID, OPERATORS, Tree, draw, draw_flat, render, shapes

COUNTDOWN = tasks.get("countdown")


def all_trees(numbers: tuple[int, ...]) -> list[Tree]:
    """Every tree over every order of the numbers, by recursion over splits of the leaves: an independent enumeration."""

    def over(sequence: tuple[int, ...]) -> list[Tree]:
        if len(sequence) == 1:
            return [sequence[0]]
        return [
            (left, op, right)
            for cut in range(1, len(sequence))
            for left in over(sequence[:cut])
            for right in over(sequence[cut:])
            for op in OPERATORS
        ]

    return [tree for order in itertools.permutations(numbers) for tree in over(order)]


def value(tree: Tree) -> int | None:
    """The integer value, None where any part is not an integer."""
    if isinstance(tree, int):
        return tree
    left, op, right = value(tree[0]), tree[1], value(tree[2])
    if left is None or right is None:
        return None
    if op == "/":
        return left // right if right != 0 and left % right == 0 else None
    return {"+": left + right, "-": left - right, "*": left * right}[op]


@pytest.mark.parametrize("numbers", [(2, 3), (2, 3, 7), (4, 4, 6), (1, 5, 8, 12)])
def test_exact_counts_equal_brute_force(numbers: tuple[int, ...]) -> None:
    values = [v for v in map(value, all_trees(numbers)) if v is not None]
    counter = Counter(numbers)
    for target in {*values[:200], -1, 10**6}:
        assert counter.chance(target) == pytest.approx(values.count(target) / len(values), abs=1e-12)


def test_random_expressions_are_uniform_over_trees() -> None:
    numbers = np.tile(np.array([2, 3, 7]), (40_000, 1))
    drawn = draw(numbers, rng.stream("test uniform"))
    texts = [render(drawn.tree(i)) for i in range(len(numbers))]
    expected = sorted({render(t) for t in all_trees((2, 3, 7))})
    assert sorted(set(texts)) == expected
    counts = np.array([texts.count(t) for t in expected])
    chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi2 < len(counts) - 1 + 5 * np.sqrt(2 * len(counts))


def test_expressions_without_brackets_are_uniform_over_orders_and_operators() -> None:
    numbers = np.tile(np.array([2, 3, 7]), (40_000, 1))
    drawn = draw_flat(numbers, rng.stream("test flat"))
    texts = [render(drawn.tree(i)) for i in range(len(numbers))]
    expected = sorted(
        f"{a}{p}{b}{q}{c}" for a, b, c in itertools.permutations((2, 3, 7)) for p in OPERATORS for q in OPERATORS
    )
    assert sorted(set(texts)) == expected
    counts = np.array([texts.count(t) for t in expected])
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < len(counts) - 1 + 5 * np.sqrt(2 * len(counts))
    for i in range(500):
        wanted = value(drawn.tree(i))
        assert drawn.value_N[i] == (INVALID if wanted is None else wanted)


def test_drawn_values_are_the_trees_values() -> None:
    generator = rng.stream("test values")
    drawn = draw(generator.integers(1, 26, size=(3000, 5)), generator)
    for i in range(3000):
        expected = value(drawn.tree(i))
        assert drawn.value_N[i] == (INVALID if expected is None else expected)


def test_text_and_tree_correspond_one_to_one() -> None:
    trees = all_trees((2, 3, 7, 11))
    assert len({render(t) for t in trees}) == len(trees) == len(shapes(4)) * 24 * 64


@pytest.mark.slow
@pytest.mark.parametrize("level", [2, 3, 4, 5, 6])
def test_generated_problems_keep_their_promises(level: int) -> None:
    spec = LEVELS[level]
    for problem in itertools.islice(tasks.problems(COUNTDOWN, level, "probe", seed=3), 20):
        numbers, target = problem.meta["numbers"], problem.meta["target"]
        assert len(numbers) == spec.numbers and max(numbers) <= spec.largest and spec.low <= target <= spec.high
        assert problem.split == split_of(numbers, target) == "probe"
        gold = COUNTDOWN.gold(problem)
        assert COUNTDOWN.verify(problem, gold).correct is True
        assert COUNTDOWN.verify(problem, gold + "+1").correct is False
        assert 0 < COUNTDOWN.guess(problem) < 1


@pytest.mark.slow
def test_gold_is_uniform_over_solutions() -> None:
    problem = COUNTDOWN.make((2, 3, 4), 14, level=2)
    solutions = sorted({t for t in map(render, (t for t in all_trees((2, 3, 4)) if value(t) == 14)) if "(" not in t})
    texts = [COUNTDOWN.gold(problem, (i,)) for i in range(4000)]
    assert sorted(set(texts)) == solutions
    counts = np.array([texts.count(s) for s in solutions])
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < len(counts) - 1 + 5 * np.sqrt(2 * len(counts))


@pytest.mark.slow
def test_splits_are_disjoint_by_content_and_have_their_shares() -> None:
    drawn: dict[str, set[tuple[tuple[int, ...], int]]] = {}
    for split in ("pretrain", "train", "probe", "test"):
        pairs = COUNTDOWN.traces(("disjoint",), 5, split, 2500)
        keys = [(tuple(sorted(map(int, p.split("=")[0].split()))), int(p.split("=")[1][:-1])) for p, _ in pairs]
        drawn[split] = set(keys)
    for a, b in itertools.combinations(drawn, 2):
        assert not drawn[a] & drawn[b]
    where = [split_of((1, 2, 3, 4, n), 100 + n % 900) for n in range(20_000)]
    assert where.count("pretrain") / 20_000 == pytest.approx(0.70, abs=0.02)
    assert where.count("test") / 20_000 == pytest.approx(0.10, abs=0.01)


def test_order_of_numbers_does_not_change_identity_or_split() -> None:
    assert COUNTDOWN.make((5, 3, 9), 42, 2).id == COUNTDOWN.make((9, 5, 3), 42, 2).id


def test_traces_are_accepted_and_repeatable() -> None:
    first = COUNTDOWN.traces((1, "x"), 5, "pretrain", 50)
    assert first == COUNTDOWN.traces((1, "x"), 5, "pretrain", 50) != COUNTDOWN.traces((2, "x"), 5, "pretrain", 50)
    for prompt, text in first:
        numbers, target = prompt[:-1].split("=")
        problem = COUNTDOWN.make(tuple(map(int, numbers.split())), int(target), 2)
        assert problem.prompt == prompt and COUNTDOWN.verify(problem, text).correct


@pytest.mark.slow
def test_chance_pass_at_256_is_at_most_04() -> None:
    """The level was chosen so that breadth at k = 256 is not luck: 0.32 on these 150 problems."""
    guesses = np.array([COUNTDOWN.guess(p) for p in itertools.islice(tasks.problems(COUNTDOWN, 5, "test", 0), 150)])
    assert float(np.mean(1 - (1 - guesses) ** 256)) < 0.4


def test_unsolvable_problem_and_unknown_names_are_named() -> None:
    with pytest.raises(InputError, match="no expression over"):
        COUNTDOWN.gold(COUNTDOWN.make((1, 1), 999, 2))
    with pytest.raises(InputError, match="did you mean 'countdown'"):
        tasks.get("countdwn")
    with pytest.raises(InputError, match="no level 9; levels: 2, 3, 4, 5, 6, 7"):
        next(tasks.problems(COUNTDOWN, 9, "test", 0))


def test_verifier_is_exact_and_strict() -> None:
    problem = COUNTDOWN.make((3, 3, 8, 8), 24, 1)
    assert COUNTDOWN.verify(problem, "8/(3-8/3)").correct is True  # fractions on the way are allowed
    verdict = COUNTDOWN.verify(problem, "8*3")
    assert verdict.correct is False and verdict.answer == "24" and "exactly once" in verdict.reason
    assert COUNTDOWN.verify(problem, "8/(3-3)*8").reason == "a division by zero"
    assert COUNTDOWN.verify(problem, "8+8+3+3").answer == str(Fraction(22))

"""Each family's answers, chances and splits against calculations that share no code with it."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from offleash import tasks
from offleash.core import Problem, rng
from offleash.tasks.families.arithmetic import ARITHMETIC, canonical
from offleash.tasks.families.equations import EQUATIONS
from offleash.tasks.families.family import SHARES, Procedural
from offleash.tasks.families.logic import LOGIC, NAMES
from offleash.tasks.families.logic import canonical as nameless
from offleash.tasks.families.strings import OPERATIONS, STRINGS


def drawn(family: Procedural, level: int, count: int, split: str = "test") -> list[Problem]:
    return [family.generate(("oracle", i), level, split) for i in range(count)]


def prompts_with_answers(family: Procedural, level: int, count: int) -> list[tuple[str, str]]:
    """Of traces, as a pretrained model sees them: what stands last in each text."""
    traces = family.traces(("oracle",), level, "pretrain", count)
    return [(prompt, family.read(text).answer) for prompt, text in traces]


@pytest.mark.parametrize("level", ARITHMETIC.levels)
def test_values_are_those_of_python(level: int) -> None:
    for prompt, answer in prompts_with_answers(ARITHMETIC, level, 60):
        value = eval(prompt.removeprefix("calc ").removesuffix("="))
        assert str(value) == answer and 100 <= value <= 999
    for problem in drawn(ARITHMETIC, level, 10):
        for step in ARITHMETIC.operations(problem):
            left, right = step.split("=")
            assert eval(left) == int(right)
        assert ARITHMETIC.operations(problem)[-1].endswith(f"={problem.answer}")


@pytest.mark.parametrize("level", EQUATIONS.levels)
def test_unknowns_solve_their_equations(level: int) -> None:
    for prompt, answer in prompts_with_answers(EQUATIONS, level, 60):
        x = int(answer)
        code = re.sub(r"(\d)([x(])", r"\1*\2", prompt.removeprefix("solve ").removesuffix(":"))
        left, right = code.split("=")
        assert eval(left, {"x": x}) == eval(right, {"x": x}) and eval(left, {"x": x + 1}) != eval(right, {"x": x + 1})
    for problem in drawn(EQUATIONS, level, 10):
        for step in EQUATIONS.operations(problem):
            left, right = re.sub(r"(\d)x", r"\1*x", step).split("=")
            assert eval(left, {"x": int(problem.answer)}) == eval(right, {"x": int(problem.answer)})
        formula, right = EQUATIONS.gold_in(problem, "formula").split("=")
        assert eval(formula) == int(right)


def kinds_that_fit(prompt: str) -> list[str]:
    """All assignments under which each statement is as true as its speaker, by trying them all."""
    said = dict(part.split(":") for part in prompt.removeprefix("who ").removesuffix(":").split())
    code = {name: re.sub("!([a-j])", r"(1-\1)", text).replace("+", "^") for name, text in said.items()}
    whole = compile(" and ".join(f"({text}) == {name}" for name, text in code.items()), "puzzle", "eval")
    every = itertools.product((0, 1), repeat=len(said))
    return ["".join(map(str, k)) for k in every if eval(whole, dict(zip(said, k, strict=True)))]


@pytest.mark.parametrize("level", LOGIC.levels)
def test_puzzles_have_one_solution(level: int) -> None:
    for prompt, answer in prompts_with_answers(LOGIC, level, 12 if level > 7 else 30):
        assert kinds_that_fit(prompt) == [answer]


def test_puzzles_that_differ_in_names_share_their_split() -> None:
    generator = rng.stream("renamed")
    for problem in drawn(LOGIC, 7, 20):
        said = problem.meta["statements"]
        names = NAMES[: len(said)]
        other = "".join(names[i] for i in generator.permutation(len(names)))
        table = str.maketrans(names, other)
        renamed = {n.translate(table): s.translate(table) for n, s in zip(names, said, strict=True)}
        turned = [re.sub(r"^([a-j])([&|+])([a-j])$", r"\3\2\1", renamed[name]) for name in names]
        assert nameless([renamed[name] for name in names]) == nameless(turned) == nameless(list(said))
    assert len({nameless(list(p.meta["statements"])) for p in drawn(LOGIC, 10, 30)}) == 30


def carry_out(operation: str, text: str) -> str:
    """The operations again, letter by letter."""
    name, n = operation[:-1], int(operation[-1])
    letters = list(text)
    if name == "sort":
        for _ in letters:
            for i in range(min(n, len(letters)) - 1):
                if letters[i] > letters[i + 1]:
                    letters[i], letters[i + 1] = letters[i + 1], letters[i]
    elif name == "rev":
        letters = [*reversed(letters[:n]), *letters[n:]]
    elif name == "rot":
        for _ in range(min(n, len(letters))):
            letters.append(letters.pop(0))
    elif n <= len(letters):
        letter = letters[n - 1]
        if name == "two":
            letters.insert(n, letter)
        else:
            del letters[n - 1]
            if name == "top":
                letters.insert(0, letter)
    return "".join(letters)


@pytest.mark.parametrize("level", STRINGS.levels)
def test_letters_are_as_when_moved_one_by_one(level: int) -> None:
    for prompt, answer in prompts_with_answers(STRINGS, level, 60):
        *operations, text = prompt.removeprefix("text ").removesuffix(":").split()
        for operation in operations:
            text = carry_out(operation, text)
        assert text == answer and len(operations) == level


@pytest.mark.parametrize(("family", "level"), [(ARITHMETIC, 2), (ARITHMETIC, 4), (EQUATIONS, 2), (LOGIC, 9)])
def test_answers_are_as_likely_as_the_guess_says(family: Procedural, level: int) -> None:
    """Pearson's chi-square over bins of equally many answers, within five of its standard deviations."""
    draws, bins, generator = 1200, 10, rng.stream("uniform", family.name, level)
    low, high = {"arithmetic": (100, 999), "equations": (100, 599), "logic": (0, 511)}[family.name]
    answers = [family.draw(level, generator).answer for _ in range(draws)]
    values = [int(answer, 2 if family.name == "logic" else 10) for answer in answers]
    assert min(values) >= low and max(values) <= high
    assert family.guess(family.generate((0,), level, "test")) == pytest.approx(1 / (high - low + 1))
    found = Counter((value - low) * bins // (high - low + 1) for value in values)
    sizes = Counter((value - low) * bins // (high - low + 1) for value in range(low, high + 1))
    expected = {b: draws * size / (high - low + 1) for b, size in sizes.items()}
    chi2 = sum((found[b] - e) ** 2 / e for b, e in expected.items())
    assert chi2 < bins - 1 + 5 * (2 * (bins - 1)) ** 0.5


def test_the_guess_at_letters_is_what_random_operations_get_right() -> None:
    problem = max(drawn(STRINGS, 2, 40), key=STRINGS.guess)
    guess, tries, generator = STRINGS.guess(problem), 4000, rng.stream("letters")
    right = 0
    for pair in generator.integers(len(OPERATIONS), size=(tries, 2)):
        text = problem.meta["letters"]
        for i in pair:
            text = carry_out(OPERATIONS[i], text)
        right += text == problem.answer
    assert abs(right - tries * guess) < 4.5 * (tries * guess * (1 - guess)) ** 0.5


def test_the_order_of_operands_and_of_sides_does_not_decide_the_split() -> None:
    assert canonical(((7, "*", 23), "+", 41)) == canonical((41, "+", (23, "*", 7)))
    assert canonical(((9, "-", 4), "+", 2)) == canonical(((2, "+", 9), "-", 4)) != canonical(((9, "-", 2), "+", 4))
    assert canonical((9, "-", (4, "-", 2))) == canonical(((9, "+", 2), "-", 4))


def terms(prompt: str) -> frozenset[str]:
    """Signed terms with sorted factors, of an expression without brackets."""
    signed = re.findall(r"[-+]?[0-9*]+", "+" + prompt.removeprefix("calc ").removesuffix("="))
    return frozenset(t[0] + "*".join(sorted(t[1:].split("*"))) + f"#{signed.count(t)}" for t in signed)


def sides(prompt: str) -> frozenset[str]:
    """The two sides of an equation."""
    return frozenset(prompt.removeprefix("solve ").removesuffix(":").split("="))


@pytest.mark.parametrize(("family", "key"), [(ARITHMETIC, terms), (EQUATIONS, sides)], ids=["arithmetic", "equations"])
def test_problems_that_differ_in_order_only_have_one_content(
    family: Procedural, key: Callable[[str], frozenset[str]]
) -> None:
    generator, contents, prompts = rng.stream("order"), defaultdict(set), defaultdict(set)
    for _ in range(4000):
        drawn = family.draw(1, generator)
        assert drawn
        contents[key(drawn.prompt)].add(drawn.content)
        prompts[key(drawn.prompt)].add(drawn.prompt)
    assert sum(len(found) > 1 for found in prompts.values()) > 100  # the order did differ
    assert all(len(found) == 1 for found in contents.values())


@pytest.mark.slow
def test_splits_share_no_content_in_ten_thousand_draws() -> None:
    for family, content in ((ARITHMETIC, terms), (EQUATIONS, sides)):
        found = {split: {content(p.prompt) for p in drawn(family, 2, 2500, split)} for split in SHARES}
        assert all(len(contents) > 1500 for contents in found.values())
        for a, b in itertools.combinations(found, 2):
            assert not found[a] & found[b], family.name


def test_code_names_stand_for_values_and_a_wrong_one_is_not_performed() -> None:
    problem = drawn(ARITHMETIC, 2, 1)[0]
    text = ARITHMETIC.gold_in(problem, "code")
    needed = ARITHMETIC.operations(problem)
    assert ARITHMETIC.performed(problem, text) == needed and len(needed) == 2
    first, rest = text.split(";")
    assert ARITHMETIC.performed(problem, rest) == []  # "b=a+4=285": a was never given a value
    assert ARITHMETIC.performed(problem, problem.answer) == []
    assert ARITHMETIC.planning(problem, text)[0] == (0, first.rindex("="))


def test_a_step_of_a_puzzle_has_to_cite_the_persons_own_statement() -> None:
    problem = drawn(LOGIC, 5, 1)[0]
    text = LOGIC.gold_in(problem, "code")
    name, kind = text[0], text[text.index("=") + 1]
    assert LOGIC.performed(problem, text) == LOGIC.operations(problem)
    wrong = f"{name}:{'!b' if name != 'b' else '!a'}={kind}" + text[text.index(";") :]
    assert wrong != text and LOGIC.performed(problem, wrong) == LOGIC.operations(problem)[1:]


def test_a_wrong_derivation_of_the_right_answer_is_accepted_but_not_performed() -> None:
    problem = drawn(ARITHMETIC, 2, 1)[0]
    text = f"1+1=3>{problem.answer}"
    assert ARITHMETIC.verify(problem, text).correct is True and ARITHMETIC.performed(problem, text) == []


def test_families_are_among_the_tasks() -> None:
    assert {"arithmetic", "equations", "logic", "strings"} <= set(tasks.names())

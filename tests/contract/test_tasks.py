"""The contract of every task: each row of the registry, and of each family what can be made here, passes the same checks."""

from __future__ import annotations

import importlib.util
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offleash import tasks
from offleash.core import SPLITS, InputError, Problem, Verdict, rng
from offleash.tasks.rewards import RewardFunctions
from offleash.tasks.splits import canonical

DATA = Path(__file__).parents[1] / "data"
GYM = ("reasoning-gym/chain_sum", "reasoning-gym/spell_backward", "reasoning-gym/graph_color")
NAMES = [
    *tasks.names(),
    f"gsm8k:{DATA / 'gsm8k'}",
    f"gsm8k/numeric:{DATA / 'gsm8k'}",
    f"math-500:{DATA / 'math500'}",
    f"math-500/numeric:{DATA / 'math500'}",
    *GYM,
    f"{__file__}:REWARDS",
]


def right(prompts: list[str], completions: list[str], solution: list[str], **_: object) -> list[float]:
    return [float(s == c.strip()) for s, c in zip(solution, completions, strict=True)]


ROWS = [{"prompt": f"Say {word}.", "solution": word} for word in map(str, range(200))]
REWARDS = RewardFunctions("say", ROWS, right, success=1.0, gold="solution", answer="solution")


def label(name: str) -> str:
    return name.replace(str(Path(__file__).parent), "").replace(str(DATA), "")


@pytest.fixture(params=NAMES, ids=label)
def task(request) -> tasks.Task:
    if request.param.startswith("reasoning-gym") and importlib.util.find_spec("reasoning_gym") is None:
        pytest.skip("reasoning-gym is not installed; pip install 'offleash[reasoning-gym]'")
    return tasks.get(request.param)


def splits(task: tasks.Task, level: int) -> Iterator[str]:
    """The splits that have problems of this level."""
    for split in SPLITS:
        try:
            task.generate(("there?",), level, split)
        except InputError:
            continue
        yield split


def draw(task: tasks.Task, level: int, split: str, count: int) -> list[Problem]:
    if isinstance(task, tasks.Finite):
        return list(task.listed(level, split, 0))[:count]
    return [task.generate(("contract", i), level, split) for i in range(count)]


def some(task: tasks.Task, count: int = 3) -> list[Problem]:
    """Problems of two levels, from every split that they have."""
    return [p for level in task.levels[:2] for split in splits(task, level) for p in draw(task, level, split, count)]


def hostile(key: str, count: int) -> Iterator[str]:
    """Texts that are no answer: what breaks parsers, and random pieces of it."""
    pieces = [
        "(", ")", "{", "}", "[", "]", "\\", "\\boxed{", "\\frac{", "\\sqrt[", "^", "_", "<answer>", "</answer>", "####", "\n", "\x00",
        "\ufeff", "\u202e", "１", "٣", "²", "π", "∞", "−", "nan", "inf", "1e999", "0x1f", "--", "/0", "{}", "{0}", "%s", "${x}", "'", '"',
        "None", "True", "null", "eval(", "__import__('os')", "\ud800", "🙂",
    ]  # fmt: skip
    yield from ("", " ", "\n", *pieces)
    generator = rng.stream("hostile", key)
    for _ in range(count):
        yield "".join(pieces[i] for i in generator.integers(len(pieces), size=int(generator.integers(1, 12))))


def test_it_says_what_it_is(task):
    assert isinstance(task, tasks.Task)
    assert task.name and task.version and task.verifier_version and task.levels
    assert all(isinstance(level, int) for level in task.levels)


def test_problems_are_a_function_of_the_key_and_carry_their_identity(task):
    for problem in some(task, 2):
        assert (problem.task, problem.version) == (task.name, task.version)
        assert problem.split in SPLITS and problem.level in task.levels and problem.prompt and problem.id
    level = task.levels[0]
    split = next(splits(task, level))
    again = [[task.generate(("stable", i), level, split) for i in range(3)] for _ in range(2)]
    assert [(p.id, p.prompt, p.answer) for p in again[0]] == [(p.id, p.prompt, p.answer) for p in again[1]]


def test_its_gold_is_accepted_in_the_format_of_a_completion(task):
    for problem in some(task):
        verdict = task.verify(problem, task.gold(problem))
        assert verdict.correct is True and verdict.reward > 0, (problem.prompt, verdict)
        assert verdict.verifier_version == task.verifier_version and verdict.reason == ""


def test_the_gold_of_another_problem_and_a_spoilt_one_are_refused(task):
    problems = some(task)
    for problem, other in itertools.pairwise(problems):
        if problem.answer != other.answer or not problem.answer:
            verdict = task.verify(problem, task.gold(other))
            alone = task.verify(problem, f"\\boxed{{{problem.answer}987}}").correct
            # A solution may be right for several problems only where there is more than one: no answer is unique then.
            assert verdict.correct is not True or not problem.answer or "graph_color" in task.name, (problem, other)
            assert alone is not True or not problem.answer


@pytest.mark.slow
def test_no_hostile_text_raises_hangs_or_passes(task):
    # Math-verify judges in workers of their own: all the texts are a proof.
    check_hostile(task, 150 if getattr(task, "verifier", "") == "symbolic" else 10_000)


@pytest.mark.prove
def test_ten_thousand_hostile_texts(task):
    check_hostile(task, 10_000)


def check_hostile(task: tasks.Task, count: int) -> None:
    problem = some(task, 1)[0]
    texts = list(hostile(task.name, count))
    texts += ["(" * 10**6, "\\boxed{" + "{" * 10**6, "9" * 10**6, "<answer>" * 10**5, "\\boxed{" + "(" * 400 + "}"]
    start = time.monotonic()
    verdicts = tasks.verify_all(task, [(problem, text) for text in texts])
    assert time.monotonic() - start < 120
    for text, verdict in zip(texts, verdicts, strict=True):
        assert isinstance(verdict, Verdict) and verdict.verifier_version == task.verifier_version
        assert verdict.correct is not True or canonical(problem.answer) in canonical(text), (text[:100], verdict)
        assert math.isfinite(verdict.reward) and len(verdict.answer) < 30_000
        assert verdict.correct is True or verdict.reason


def test_a_million_brackets_are_quick(task):
    problem = some(task, 1)[0]
    task.verify(problem, "warm")
    start = time.monotonic()
    assert task.verify(problem, "(" * 10**6).correct is False
    assert time.monotonic() - start < 3


def test_the_verdict_on_a_text_does_not_depend_on_what_was_judged_before(task):
    problem = some(task, 1)[0]
    texts = [task.gold(problem), "x", "", "\\boxed{x}", "<answer>7</answer>"]
    forwards = [task.verify(problem, text) for text in texts]
    backwards = [task.verify(problem, text) for text in reversed(texts)][::-1]
    assert forwards == backwards == tasks.verify_all(task, [(problem, text) for text in texts])


@pytest.mark.slow
def test_splits_share_no_content(task):
    level = task.levels[0]
    count = 60 if task.name.startswith("reasoning-gym") else 1000
    # An exclamation mark is a word (not) to some tasks, and punctuation to `canonical`.
    content = {
        s: {canonical(p.prompt.replace("!", " not ")) for p in draw(task, level, s, count)} for s in splits(task, level)
    }
    for a, b in itertools.combinations(content, 2):
        assert not content[a] & content[b], (a, b)


def test_a_split_that_is_unknown_is_an_input_error(task):
    with pytest.raises(InputError, match="dev"):
        task.generate((0,), task.levels[0], "dev")


@pytest.mark.slow
def test_the_guess_is_a_probability_or_unknown(task):
    for problem in some(task, 2):
        guess = task.guess(problem)
        assert math.isnan(guess) or 0 <= guess <= 1


def test_traces_are_accepted_demonstrations(task):
    level = task.levels[0]
    split = next(splits(task, level))
    traces = task.traces((0,), level, split, 3)
    assert len(traces) == 3 and traces == task.traces((0,), level, split, 3)
    by_prompt = {p.prompt: p for p in draw(task, level, split, 10**6)} if isinstance(task, tasks.Finite) else {}
    for prompt, text in traces:
        assert prompt and text
        if by_prompt:
            assert task.verify(by_prompt[prompt], text).correct is True


def test_families_say_what_they_need():
    for family in tasks.families():
        assert family.about and family.needs and family.source
        if family.members is None:
            assert (
                tasks.get(family.name).name == family.name
            )  # made without its data, so that stored samples can be judged


def test_tasks_are_light_until_they_are_used():
    code = (
        "import sys\nfrom offleash import tasks\ntasks.names(), tasks.families(), tasks.get('gsm8k')\n"
        "print(*[n for n in ('torch', 'transformers', 'sympy', 'math_verify', 'reasoning_gym', 'datasets', 'scipy', 'pyarrow')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_verifying_loads_no_torch_either():
    code = (
        "import sys\nfrom offleash import tasks\n"
        f"task = tasks.get('math-500:{DATA / 'math500'}')\n"
        "problem = task.load().problems[0]\nassert task.verify(problem, task.gold(problem)).correct\n"
        "assert task.verify(problem, '\\\\boxed{x^2}').correct is False\n"
        "print(*[n for n in ('torch', 'sympy', 'math_verify') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []

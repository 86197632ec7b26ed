"""TRL's reward functions, unchanged, as a task."""

import math
import re
from pathlib import Path

import pytest

from offleash import tasks
from offleash.core import InputError
from offleash.tasks.isolation import Limits
from offleash.tasks.rewards import RewardFunctions, as_text

ROWS = [
    {"prompt": f"What is {a}+{a}?", "solution": f"${2 * a}$", "text": f"It is \\boxed{{{2 * a}}}."} for a in range(60)
]
CHAT = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
THINK = "<think>\nTwice.\n</think>\n"


def length(prompts, completions, **columns):
    return [float(len(c)) for c in completions]


def contains(completions, solution, **columns):
    return [1.0 if s.strip("$") in re.findall(r"\d+", c) else 0.0 for c, s in zip(completions, solution, strict=True)]


def never(completions, **columns):
    return [None] * len(completions)


async def later(completions, **columns):
    return [1.0] * len(completions)


def test_the_threshold_has_to_be_said():
    for missing in (None, math.nan):
        with pytest.raises(InputError, match=r"success: task 'sums' has no threshold; .*success=1\.0"):
            RewardFunctions("sums", ROWS, contains, success=missing)


def test_a_reward_function_is_a_task():
    task = RewardFunctions("sums", ROWS, contains, success=1.0, gold="text", answer="solution")
    assert isinstance(task, tasks.Task) and isinstance(task, tasks.Batched) and isinstance(task, tasks.Finite)
    problem = task.generate((0,), 1, "train")
    assert task.verify(problem, task.gold(problem)).correct is True
    wrong = task.verify(problem, "no idea")
    assert wrong.correct is False and wrong.reward == 0.0 and wrong.reason == "a reward of 0, below 1"
    splits = {split: {p.id for p in task.listed(1, split, 0)} for split in ("pretrain", "train", "probe", "test")}
    assert sum(map(len, splits.values())) == 60 == len(set.union(*splits.values()))


def test_weights_none_and_coroutines_as_in_trl():
    problem = RewardFunctions("sums", ROWS, contains, success=1).listed(1, "train", 0)[0]
    half = RewardFunctions("sums", ROWS, [contains, length], success=0.5, weights=[1.0, -0.01])
    assert half.verify(problem, "x" * 40).reward == pytest.approx(-0.4)
    without = RewardFunctions("sums", ROWS, [contains, never], success=1)
    assert without.verify(problem, str(problem.meta["text"])).correct is True
    undecided = RewardFunctions("sums", ROWS, never, success=1).verify(problem, "x")
    assert undecided.correct is None and undecided.reason == "every reward function returned None"
    assert RewardFunctions("sums", ROWS, later, success=1).verify(problem, "x").correct is True
    with pytest.raises(InputError, match="weights: 1 of them for 2 reward functions"):
        RewardFunctions("sums", ROWS, [contains, never], success=1, weights=[1])


def test_messages_are_passed_as_trl_passes_them():
    seen = {}

    def look(prompts, completions, completion_ids, solution, **rest):
        seen.update(prompts=prompts, completions=completions, solution=solution, rest=rest)
        return [1.0] * len(prompts)

    task = RewardFunctions("sums", CHAT, look, success=1)
    problem = task.generate((0,), 1, "train")
    task.verify(problem, "4")
    assert seen["prompts"] == [problem.meta["prompt"]] and seen["prompts"][0][0]["role"] == "user"
    assert seen["completions"] == [[{"role": "assistant", "content": "4"}]]
    assert set(seen["rest"]) == {"text", "trainer_state", "log_extra", "log_metric"}
    assert problem.prompt == CHAT[0]["prompt"][0]["content"].replace("0+0", problem.prompt[8:-1])
    assert as_text([{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]) == (
        "system: Be short.\n\nuser: Hi\n\nassistant: "
    )


def test_a_function_that_raises_is_undecided_for_that_sample_only():
    def fussy(completions, **columns):
        return [1 / (c != "boom") for c in completions]

    task = RewardFunctions("sums", ROWS, fussy, success=1)
    problem = task.generate((0,), 1, "train")
    verdicts = tasks.verify_all(task, [(problem, "a"), (problem, "boom"), (problem, "b")])
    assert [v.correct for v in verdicts] == [True, None, True]
    assert verdicts[1].reason == "error: fussy: ZeroDivisionError: division by zero"


def test_the_wrong_number_of_rewards_is_an_error():
    task = RewardFunctions("sums", ROWS, lambda completions, **_: [1.0], success=1)
    problem = task.generate((0,), 1, "train")
    with pytest.raises(InputError, match="returned 1 for 2 completions; return one reward each"):
        task.verify_many([(problem, "a"), (problem, "b")])


def test_importing_a_function_is_not_on_its_time():
    path = f"{Path(__file__).parent / 'slow_import.py'}:reward"
    task = RewardFunctions("sums", ROWS, path, success=1, limits=Limits(seconds=0.3, wall_seconds=20))
    assert task.verify(task.generate((0,), 1, "train"), "x").correct is True


def test_a_function_in_a_worker_that_hangs_is_undecided():
    path = f"{Path(__file__).parent / 'hostile.py'}:reward_that_hangs"
    task = RewardFunctions("sums", ROWS, path, success=1, limits=Limits(seconds=0.3, wall_seconds=20))
    problem = task.generate((0,), 1, "train")
    verdicts = tasks.verify_all(task, [(problem, "a"), (problem, "hang")])
    assert [v.correct for v in verdicts] == [True, None] and verdicts[1].reason.startswith("timeout: ")


@pytest.mark.slow
def test_trls_own_rewards_run_unchanged_in_workers_and_agree_with_calling_them():
    rewards = pytest.importorskip("trl.rewards", reason="trl is not installed; pip install 'offleash[dev]'")
    functions = ["trl.rewards:accuracy_reward", "trl.rewards:think_format_reward"]
    task = RewardFunctions("sums", CHAT, functions, success=1.5, weights=[1.0, 0.5], gold="text")
    problems = task.listed(1, "train", 0)[:8]
    texts = [[THINK + p.meta["text"], p.meta["text"], THINK + "\\boxed{999}", "(" * 10_000, ""] for p in problems]
    pairs = [(p, t) for p, some in zip(problems, texts, strict=True) for t in some]
    verdicts = tasks.verify_all(task, pairs)
    completions = [[{"role": "assistant", "content": t}] for _, t in pairs]
    accuracy = rewards.accuracy_reward(completions, [p.meta["solution"] for p, _ in pairs])
    form = rewards.think_format_reward(completions)
    assert [v.reward for v in verdicts] == [a + 0.5 * f for a, f in zip(accuracy, form, strict=True)]
    assert [v.correct for v in verdicts] == [a + 0.5 * f >= 1.5 for a, f in zip(accuracy, form, strict=True)]
    assert sum(v.correct is True for v in verdicts) == 8


def test_trls_rewards_of_an_unreadable_solution_are_undecided_not_right():
    rewards = pytest.importorskip("trl.rewards", reason="trl is not installed; pip install 'offleash[dev]'")
    task = RewardFunctions(
        "sums", [{"prompt": [{"role": "user", "content": "?"}], "solution": ""}], rewards.accuracy_reward, success=1
    )
    problem = next(p for split in ("pretrain", "train", "probe", "test") for p in task.listed(1, split, 0))
    assert task.verify(problem, "\\boxed{1}").correct is None


def test_rows_that_differ_in_any_column_are_different_problems() -> None:
    def right(completions: list[str], solution: list[str], **_: object) -> list[float]:
        return [float(c == s) for c, s in zip(completions, solution, strict=True)]

    def ids(*solutions: str) -> list[str]:
        rows = [{"prompt": "what?", "solution": s} for s in solutions]
        return [p.id for p in RewardFunctions("columns", rows, right, success=1.0)._problems]

    assert len(set(ids("a", "b"))) == 2
    assert ids("a") == ids("a") != ids("b")

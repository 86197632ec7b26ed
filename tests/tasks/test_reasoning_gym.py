"""reasoning-gym's data sets as tasks: seeds, splits, scorers, answers."""

import importlib.metadata
import importlib.util
import itertools
import math

import pytest

from offleash import tasks
from offleash.core import InputError
from offleash.tasks import gym
from offleash.tasks.gym import ReasoningGym
from offleash.tasks.gym import task as module
from offleash.tasks.gym.task import extract
from offleash.tasks.isolation import Pool

HERE = importlib.util.find_spec("reasoning_gym") is not None
installed = pytest.mark.skipif(not HERE, reason="reasoning-gym is not installed; pip install 'offleash[reasoning-gym]'")
DATASETS = gym.datasets() if HERE else []
WITHOUT_SOLUTIONS = {"boxnet", "rush_hour"}
SOME = ["chain_sum", "graph_color", "letter_counting", "propositional_logic", "simple_equations", "spell_backward"]
# Their scorers evaluate the answer as Python, with eval or through sympy's parse_expr.
EVALUATING = [
    "string_insertion", "spiral_matrix", "binary_matrix", "n_queens",
    "countdown", "puzzle24", "polynomial_multiplication", "simple_integration", "intermediate_integration",
]  # fmt: skip


def get(dataset: str) -> ReasoningGym:
    task = tasks.get(f"reasoning-gym/{dataset}")
    assert isinstance(task, ReasoningGym)
    return task


@pytest.mark.parametrize(
    ("text", "answer", "form"),
    [
        ("<answer>5</answer>", "5", "tags"),
        ("<think>maybe <answer>4</answer></think>\n<answer>\n 5 \n</answer> done", "5", "tags"),
        ("<answer>4 <answer>5</answer>", "5", "tags"),
        ("<answer>a\nb</answer>", "a\nb", "tags"),
        ("<answer></answer>", "", "tags"),
        (" 5 ", "5", "bare"),
        ("<answer>5", "<answer>5", "bare"),
        ("5</answer>", "5</answer>", "bare"),
        ("", "", "bare"),
    ],
)
def test_the_answer_is_between_the_last_closed_tags(text, answer, form):
    assert extract(text) == (answer, form)


def test_where_it_is_not_installed_one_line_names_the_extra(monkeypatch):
    module._described.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"reasoning-gym: it is not installed; pip install 'offleash\[reasoning-gym\]'"
    ):
        ReasoningGym("chain_sum", success=1.0)
    monkeypatch.undo()
    module._described.cache_clear()


@installed
def test_every_data_set_is_a_task_and_unknown_ones_name_the_closest():
    assert len(DATASETS) >= 100 and "composite" not in DATASETS
    with pytest.raises(InputError, match="unknown data set of reasoning-gym 'chain_sums'; did you mean 'chain_sum'"):
        tasks.get("reasoning-gym/chain_sums")
    with pytest.raises(InputError, match="success: 0 is not in"):
        ReasoningGym("chain_sum", success=0)


@installed
def test_its_own_adjacent_seeds_share_their_problems_and_ours_share_none():
    reasoning_gym = pytest.importorskip("reasoning_gym")
    own = [{e["question"] for e in reasoning_gym.create_dataset("chain_sum", seed=s, size=500)} for s in (4, 5)]
    assert len(own[0] & own[1]) >= 490  # 496 of 500, for a seed four further
    task = get("chain_sum")
    drawn = {
        split: {p.prompt for p in itertools.islice(tasks.problems(task, 0, split, seed=4), 60)}
        for split in ("pretrain", "train", "probe", "test")
    }
    for a, b in itertools.combinations(drawn.values(), 2):
        assert not a & b
    next_seed = {p.prompt for p in itertools.islice(tasks.problems(task, 0, "train", seed=5), 60)}
    assert len(drawn["train"] & next_seed) <= 2


@pytest.mark.slow
@installed
def test_a_key_gives_one_problem_in_any_process_and_the_package_version_is_in_its_id(monkeypatch):
    first = {dataset: get(dataset).generate(("key", 3), 0, "probe") for dataset in SOME}
    pool = Pool(1)
    monkeypatch.setattr(module, "shared", lambda: pool)
    for dataset in reversed(SOME):
        task, problem = get(dataset), first[dataset]
        again = task.generate(("key", 3), 0, "probe")
        assert (again.id, again.prompt, again.meta) == (problem.id, problem.prompt, problem.meta)
        assert importlib.metadata.version("reasoning-gym") in task.version
        with monkeypatch.context() as other:
            other.setattr(task, "version", "1+reasoning-gym-0.0.0")
            assert task.generate(("key", 3), 0, "probe").id != problem.id
    pool.close()


@installed
@pytest.mark.parametrize("dataset", SOME)
def test_solutions_are_accepted_and_others_refused(dataset):
    task = get(dataset)
    for problem in (task.generate((i,), 0, "train") for i in range(3)):
        verdict = task.verify(problem, "Let me think. " + task.gold(problem))
        assert verdict.correct is True and verdict.reward == 1.0 and verdict.format == "tags"
        for junk in (
            "",
            "<answer></answer>",
            "I do not know",
            "<answer>-123456</answer>",
            "\x00",
            "é☃" * 1000,
            "(" * 10**6,
        ):
            assert task.verify(problem, junk).correct is False
        assert math.isnan(task.guess(problem))


@installed
def test_partial_scores_are_rewards_and_no_success():
    task, lenient = get("polynomial_equations"), ReasoningGym("polynomial_equations", success=0.1)
    problem = next(p for p in (task.generate((i,), 0, "train") for i in range(50)) if "," in p.answer)
    part = f"<answer>{problem.answer.split(',')[0]}</answer>"
    verdict = task.verify(problem, part)
    assert verdict.correct is False and 0.1 < verdict.reward < 1 and verdict.reason.startswith("a score of 0.")
    assert lenient.verify(problem, part).correct is True and lenient.verifier_version != task.verifier_version


@pytest.mark.slow
@installed
@pytest.mark.parametrize(
    ("dataset", "wrong"),
    [
        ("game_of_life_halting", "x"), ("complex_arithmetic", "nan"), ("complex_arithmetic", "NaN"), ("coin_flip", "0"),
        ("coin_flip", "1e999"), ("sokoban", "UDLR is what I would try, left or right"), ("prime_factorization", "x"), ("boxnet", "0"),
        ("game_of_life", "{}"), ("puzzle24", "6*(2 + 2) + 0"), ("puzzle24", "5 + 9 + 5 + 5"),
    ],
)  # fmt: skip
def test_scorers_that_take_what_is_wrong_or_raise_are_mended(dataset, wrong):
    task = get(dataset)
    for i in range(4):
        problem = task.generate((i,), 0, "train")
        assert task.verify(problem, f"<answer>{wrong}</answer>").correct is False
    if dataset not in WITHOUT_SOLUTIONS:
        assert task.verify(problem, task.gold(problem)).correct is True


@installed
@pytest.mark.parametrize("dataset", EVALUATING)
def test_an_answer_is_never_run_as_python(dataset, tmp_path):
    task, target = get(dataset), tmp_path / "written"
    problem = task.generate((0,), 0, "train")
    write = f"open({str(target)!r}, 'w').write('x')"
    attacks = [
        write, f"[{write}]", f"__import__('pathlib').Path({str(target)!r}).touch()", f"eval(\"{write}\")",
        f"Symbol('x').__class__.__init__.__globals__['__builtins__']['open']({str(target)!r}, 'w')", f"S(\"{write}\")",
        f"[x for x in [{write}]]", f"sympify(chr(111)+{write})", f"lambda: {write}", f"(lambda: {write})()",
    ]  # fmt: skip
    for attack in attacks:
        assert task.verify(problem, f"<answer>{attack}</answer>").correct is not True
        assert not target.exists()


@installed
def test_levels_are_the_curriculum():
    task = get("chain_sum")
    assert task.levels[0] == 0 and len(task.levels) > 2
    easy, hard = (task.generate((0,), level, "train") for level in (1, task.levels[-1]))
    assert len(easy.prompt) < len(hard.prompt) and task.verify(hard, task.gold(hard)).correct is True
    with pytest.raises(InputError, match="has no level 99"):
        task.generate((0,), 99, "train")
    with pytest.raises(InputError, match="split 'dev': reasoning-gym/chain_sum has none of that name"):
        task.generate((0,), 0, "dev")


@installed
def test_a_level_that_its_generator_refuses_is_one_line():
    with pytest.raises(
        InputError, match=r"caesar_cipher, level 3: its generator failed: error: AssertionError.*; choose"
    ):
        get("caesar_cipher").generate((0,), 3, "train")
    # Its own fifth level is one of those.
    assert tasks.main_level(get("rubiks_cube")) == 0 and get("rubiks_cube").generate((0,), 0, "train").level == 0


@installed
@pytest.mark.slow
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_accepts_its_solution_and_survives_junk(dataset):
    task = get(dataset)
    problem = task.generate(("all",), 0, "test")
    if dataset in WITHOUT_SOLUTIONS:
        with pytest.raises(InputError, match="gives no solution"):
            task.gold(problem)
    else:
        assert task.verify(problem, task.gold(problem)).correct is True
    for junk in (
        "",
        "x",
        "((",
        "nan",
        "inf",
        "[]",
        "[[]]",
        "{}",
        "null",
        "\x00",
        "1e999",
        "é☃",
        "None",
        "{" * 10**5,
        "," * 10**4,
    ):
        assert task.verify(problem, f"<answer>{junk}</answer>").correct is False, junk

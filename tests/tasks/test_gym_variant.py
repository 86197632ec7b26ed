"""reasoning-gym's data sets with settings of one's own, in the task's name."""

import importlib.util
import itertools
import math
import subprocess
import sys

import pytest

from offleash import tasks
from offleash.core import InputError
from offleash.tasks.gym import task as module
from offleash.tasks.gym.task import last_number
from offleash.tasks.gym.variant import PROMPTS, Variant, read
from offleash.tasks.isolation import Limits

installed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None,
    reason="reasoning-gym is not installed; pip install 'offleash[reasoning-gym]'",
)
ONE_DIGIT = "reasoning-gym/chain_sum:max_digits=1,max_terms=2,answer=number,prompt=final"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7", "7"), ("The answer is 7.", "7"), ("3 + 4 = 7", "7"), ("= -1", "-1"), ("-1", "-1"), ("(-3)", "-3"), ("5-3", "3"),
        ("5 - 3", "3"), ("(1)-3", "3"), ("x-2", "2"), ("**12**", "12"), ("1,234", "1,234"), ("1,2", "2"), ("0.50", "0.50"),
        ("3.", "3"), ("$-4", "-4"), ("= −4", "-4"), ("٣", ""), ("", ""), ("none", ""),
    ],
)  # fmt: skip
def test_the_last_number_is_the_answer(text, answer):
    assert last_number(text) == (answer, "number" if answer else "none")


@pytest.mark.parametrize(
    "text",
    ["", "max_digits=1", "allow_negation=true,max_digits=2", "rate=0.5,word=a", "answer=number", "max_digits=1,prompt=final",
     "answer=number,prompt=Say: {question}, x=1"],
)  # fmt: skip
def test_a_variants_name_reads_back_as_itself(text):
    assert read(text).name == text and read(read(text).name) == read(text)


def test_the_order_of_settings_does_not_matter_and_the_prompt_takes_the_rest():
    assert read("answer=number,b=2,a=1").name == read("a=1,b=2,answer=number").name == "a=1,b=2,answer=number"
    assert read("prompt=a=1, {question}") == Variant({}, "tags", "a=1, {question}")
    assert read("") == Variant() and Variant().text == PROMPTS["tags"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "'x' is no setting"), ("a=", "'a=' is no setting"), ("=1", "'=1' is no setting"), ("a=1,,b=2", "'' is no setting"),
        ("a=1,a=2", "'a=2' is no setting, or one that is given twice"), ("answer=words", "answer=words is not one of tags, number"),
        ("prompt=formal", "prompt='formal' is no name of a prompt"), ("prompt={question}{question}", "in it once"),
    ],
)  # fmt: skip
def test_what_is_no_variant_is_one_line(text, message):
    with pytest.raises(InputError, match=message):
        read(text)


@installed
def test_the_configuration_the_prompt_and_the_verdict_are_the_names():
    task = tasks.get(ONE_DIGIT)
    assert task.name == ONE_DIGIT and task.levels == (0,) and tasks.get(task.name).version == task.version
    for problem in (task.generate((i,), 0, "train") for i in range(20)):
        assert problem.prompt.endswith("=\nReply with only the final answer.") and abs(int(problem.answer)) <= 18
        right = task.verify(problem, f"I think it is {problem.answer}.")
        assert right.correct is True and right.reward == 1 and right.format == "number"
        assert task.verify(problem, task.gold(problem)).correct is True
        # Of a number with the right digits in it the data set's scorer gives a part.
        wrong = task.verify(problem, f"{problem.answer}99")
        assert wrong.correct is False and wrong.reward == 0
        assert task.verify(problem, "no idea").format == "none"
    plain = tasks.get("reasoning-gym/chain_sum")
    assert plain.verifier_version != task.verifier_version


@installed
def test_a_question_has_the_same_split_in_every_variant():
    def questions(name, split):
        drawn = itertools.islice(tasks.problems(tasks.get(name), 0, split, seed=0), 30)
        return {p.prompt.partition(" =")[0] for p in drawn}

    other = ONE_DIGIT.replace("prompt=final", "prompt=Compute. {question}")
    assert questions(ONE_DIGIT, "test") and not questions(ONE_DIGIT, "test") & questions(ONE_DIGIT, "train")
    assert not {q.removeprefix("Compute. ") for q in questions(other, "train")} & questions(ONE_DIGIT, "test")


@installed
def test_a_guess_is_how_often_an_answer_occurs():
    """Two digits 0 to 9, added or subtracted: 0 comes of 1 + 10 of 200 pairs, 9 of 10 + 1, 18 of 1."""
    task = tasks.get(ONE_DIGIT)
    drawn = [task.generate((i,), 0, split) for split in ("train", "test") for i in range(150)]
    guess = {p.answer: task.guess(p) for p in drawn}
    assert guess["0"] == pytest.approx(11 / 200, abs=0.012) and guess["9"] == pytest.approx(11 / 200, abs=0.012)
    assert guess["-8"] == pytest.approx(2 / 200, abs=0.006)


@installed
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chain_sum:digits=1", "unknown setting of reasoning-gym's chain_sum 'digits'; did you mean 'min_digits'"),
        ("chain_sum:seed=1", "unknown setting of reasoning-gym's chain_sum 'seed'"),
        ("chain_sums:max_digits=1", "unknown data set of reasoning-gym 'chain_sums'"),
        ("chain_sum:max_terms=1e9", "chain_sum: max_terms=1000000000.0 is not a whole number, in digits; give one"),
        ("chain_sum:max_terms=true", "max_terms=True is not a whole number"),
        ("chain_sum:allow_negation=3", "allow_negation=3 is not one of true and false"),
        ("bitwise_arithmetic:difficulty=two", "difficulty=two is not a whole number"),
        ("leg_counting:max_instances=1.5", "max_instances=1.5 is not a whole number"),
        ("coin_flip:max_trials=nan", "max_trials=nan is not a whole number"),
        ("syllogism:invalid_ratio=inf", "invalid_ratio=inf is not a number"),
    ],
)
def test_a_setting_that_a_data_set_does_not_have_is_named(name, message):
    with pytest.raises(InputError, match=message):
        tasks.get(f"reasoning-gym/{name}")


@installed
def test_a_configuration_that_the_data_set_refuses_is_one_line():
    with pytest.raises(InputError, match="max_terms must be >= min_terms; give other settings"):
        tasks.get("reasoning-gym/chain_sum:max_terms=1,min_terms=2").generate((0,), 0, "train")


@installed
def test_settings_of_the_right_kind_are_taken():
    for given in (
        f"chain_sum:max_terms={'9' * 400}",
        "syllogism:invalid_ratio=1,allow_all=false",
        "syllogism:invalid_ratio=0.5",
    ):
        assert tasks.get(f"reasoning-gym/{given}").name.endswith(read(given.split(":")[1]).name)


@installed
def test_settings_that_ask_for_too_much_are_refused_in_time(monkeypatch):
    monkeypatch.setattr(module, "_OWN", Limits(seconds=0.5, wall_seconds=20.0, megabytes=512))
    task = tasks.get("reasoning-gym/chain_sum:max_terms=1000000000")
    with pytest.raises(
        InputError, match=r"max_terms=1000000000: drawing a problem takes more than 0.5 s .*; give smaller"
    ):
        task.generate((0,), 0, "train")
    monkeypatch.undo()
    assert tasks.get(ONE_DIGIT).generate((0,), 0, "train").prompt  # the pool goes on


@installed
def test_a_guess_that_takes_too_long_to_count_is_not_known(monkeypatch):
    task = tasks.get(ONE_DIGIT.replace("max_terms=2", "max_terms=2000,min_terms=1000"))
    problem = task.generate((0,), 0, "train")
    monkeypatch.setattr(module, "_DRAW", Limits(seconds=0.2, wall_seconds=20.0))
    assert math.isnan(task.guess(problem)) and math.isnan(task.guess(problem))


@installed
@pytest.mark.slow
def test_without_pycosat_the_other_data_sets_work():
    code = (
        "import sys; sys.modules['pycosat'] = None\n"
        "from offleash.tasks.gym import worker\n"
        "print(worker.draw('chain_sum', 1, [3], 'x', 'a', {'a': 1.0})['answer'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().lstrip("-").isdigit()

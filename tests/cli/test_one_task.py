"""`offleash tasks NAME`: the card, the problems and the verdicts of one task, among them one that a user is just writing."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from offleash import tasks
from offleash.cli import main as cli
from offleash.cli.one_task import printable
from offleash.core import InputError
from offleash.tasks import base
from offleash.tasks.code import unavailable

DATA = Path(__file__).parents[1] / "data"
FILE = '''
from offleash.core import Problem, Verdict

class Good:
    """Twice a number."""
    name, version, verifier_version, levels = "twice", "1", "twice-1", (1, 2)
    def generate(self, key, level, split):
        n = sum(map(ord, str(key))) * 10**level
        return Problem(self.name, "1", f"2*{n}=", str(2 * n), level, split)
    def verify(self, problem, text):
        right = text == problem.answer
        return Verdict(right, float(right), text, "text", "" if right else "another\\nnumber", "twice-1")
    def gold(self, problem, key=()):
        return problem.answer
    def guess(self, problem):
        return 0.25
    def traces(self, key, level, split, count):
        return []

class Silent(Good):
    def gold(self, problem, key=()):
        raise KeyError("solution")
class Refused(Good):
    def gold(self, problem, key=()):
        return "x\\x1b[31m"
class Raising(Good):
    def verify(self, problem, text):
        raise ValueError("no such text")
class Crashing(Good):
    def generate(self, key, level, split):
        return {}["gone"]
class Forgetful(Good):
    def generate(self, key, level, split):
        return Problem("twice", "1", "2*2=", "4")
class NoProblem(Good):
    def generate(self, key, level, split):
        return "2*2="
class NoVerdict(Good):
    def verify(self, problem, text):
        return True
class NoGuess(Good):
    def guess(self, problem):
        return None
class NoText(Good):
    def gold(self, problem, key=()):
        return 4
class NoLevels(Good):
    levels = ()
class Exits(Good):
    def verify(self, problem, text):
        raise SystemExit(0)
class ExitsEarly(Good):
    def generate(self, key, level, split):
        raise SystemExit(0)
class WordReward(Good):
    def verify(self, problem, text):
        return Verdict(True, "1", "", "text", "", "twice-1")
class Yes(Good):
    def verify(self, problem, text):
        return Verdict("yes", 1.0, "", "text", "", "twice-1")
class NoReason(Good):
    def verify(self, problem, text):
        return Verdict(False, 0.0, "", "text", None, "twice-1")
class Short(Good):
    def verify_many(self, pairs):
        return []
class Fussy(Good):
    def verify_many(self, pairs):
        raise SystemExit(0)
class NumberAnswer(Good):
    def generate(self, key, level, split):
        return Problem("twice", "1", "2*2=", 4, level, split)
class WordGuess(Good):
    def guess(self, problem):
        return "even"
class Few(Good):
    def listed(self, level, split, seed):
        return [self.generate((i,), level, split) for i in range(3)] if (level, split) == (2, "train") else []
'''


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path: Path) -> Path:
    """A folder with a task of the user's; what is registered is gone after the test."""
    for table in ("_TASKS", "_MADE"):
        monkeypatch.setattr(base, table, dict(getattr(base, table)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_task.py").write_text(FILE)
    (tmp_path / "exits.py").write_text("raise SystemExit(0)")
    return tmp_path


@pytest.fixture
def offleash(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["tasks", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_the_card_says_what_the_task_is(offleash):
    code, out, err = offleash("own_task.py:Good")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line[:3].strip()[:1].isalpha()}
    assert out.startswith("twice, version 1\n")
    assert lines["is"] == "Twice a number." and lines["levels"] == "1, 2; 1 where none is named"
    assert lines["splits"] == "pretrain, train, probe, test (drawn, as many as are asked for)"
    assert lines["formats"] == "text 100% of its solutions" and lines["solution"] == "accepted by its verifier"
    assert (lines["verifier"], lines["needs"]) == ("twice-1", "nothing") and lines["source"].endswith("own_task.py")
    assert "level  a guess is right  example\n1      0.25              2*" in out
    assert "offleash tasks own_task.py:Good --show 3\n" in out
    document = json.loads(offleash("own_task.py:Good", "--json")[1])["tasks"][0]
    assert document["splits"] == dict.fromkeys(("pretrain", "train", "probe", "test"))
    assert document["gold"] == {"given": True, "correct": True, "reason": ""} and document["main_level"] == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Refused", "solution  NOT accepted by its verifier: another number"),
        ("Raising", "solution  undecided: verify raised ValueError: no such text"),
        ("Silent", "solution  none: task 'twice': gold raised KeyError: 'solution' (own_task.py, line 22)"),
        ("Few", "splits    train 3 problems"),
    ],
)
def test_the_card_says_what_is_wrong_with_the_solution(offleash, name, line):
    code, out, _ = offleash(f"own_task:{name}")
    assert code == 0 and f"  {line}\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own_task:Crashing"], "generate raised KeyError: 'gone' (own_task.py, line 31)"),
        (["own_task:Forgetful"], "split 'test', gave a problem of level 0, split 'test'; make it as Problem(..., level=level"),
        (["own_task:NoProblem"], "generate gave a str as a problem; return an offleash.core.Problem (own_task.py, line 36)"),
        (["own_task:NoVerdict"], "verify returned a bool; return an offleash.core.Verdict (own_task.py, line 39)"),
        (["own_task:NoGuess"], "guess returned None; return a probability from 0 to 1, or nan (own_task.py, line 42)"),
        (["own_task:WordGuess"], "guess returned 'even'; return a probability"),
        (["own_task:NoText", "--show", "1"], "gold returned a int; return the text that is right (own_task.py, line 45)"),
        (["own_task:NoLevels"], "levels is (); give a tuple of whole numbers, such as (1,) (own_task.py, line 47)"),
        (["own_task:NumberAnswer"], "generate gave a problem with answer=4; give a text (own_task.py, line"),
        (["own_task:ExitsEarly"], "generate raised SystemExit: 0 (own_task.py, line"),
        (["own_task:WordReward"], "verify gave a verdict with reward='1'; give a number, as float(...) (own_task.py"),
        (["own_task:Yes"], "verify gave a verdict with correct='yes'; give True, False, or None for undecided (own_task.py"),
        (["own_task:NoReason", "--judge", "own_task.py"], "verify gave a verdict with reason=None; give a text (own_task.py"),
        (["own_task:Short"], "verify_many returned 0 for 1 completions; return a list of one verdict each (own_task.py"),
        (["exits.py:Task"], "exits.py cannot be imported: SystemExit: 0 (exits.py, line 1)"),
        (["exits:Task"], "module 'exits' cannot be imported: SystemExit: 0 (exits.py, line 1)"),
        ([""], "unknown task '' (known: "),
        (["gsm8k/foo"], "task gsm8k/foo: no such verifier; write gsm8k, or gsm8k/numeric"),
        (["humaneval/1"], "task humaneval/1: humaneval has no members"),
        (["logic", "--measure", "shares.json", "--judge", "own_task.py"], "--measure: goes without --judge"),
        (["logic", "--measure", "shares.json", "--show", "1"], "--measure: goes without --show"),
        (["own_task:Goood"], "unknown name 'Goood'; did you mean 'Good'"),
        (["own_task.py"], "name the object after a colon, own_task.py:NAME"),
        (["no_task:Good"], "no module 'no_task' in the installed packages, nor in /"),
        (["own_task:Good", "--show", "1", "--level", "7"], "--level: 'twice' has no level 7; levels: 1, 2"),
        (["own_task:Few", "--show", "1", "--split", "test"], "split: 'twice' has no problem of level 1 in split 'test'"),
        (["own_task:Good", "--level", "1"], "--level: goes with --show N or --judge FILE"),
        (["own_task:Good", "--split", "test"], "--split: goes with --show N or --judge FILE"),
        (["own_task:Good", "--problem", "1"], "--problem: goes with --judge FILE"),
        (["own_task:Good", "--judge", "none.txt"], "--judge: no file none.txt; give one with the completion, or -"),
        (["own_task:Good", "--judge", "own_task.py", "--show", "1"], "--judge: goes without --show"),
        (["own_task:Good", "--judge", "own_task.py", "--problem", "0"], "--problem: there is no number 0; they count from 1"),
        (["own_task:Few", "--judge", "own_task.py", "--problem", "4"], "there is no number 4; level 2 of train has 3"),
        (["own_task:Few", "--judge", "own_task.py", "--problem", "abcdef"], "no problem has an id that begins with 'abcdef'"),
        (["--judge", "own_task.py"], "--judge: of which task? name one"),
        (["--show", "1"], "--show: of which task? name one"),
        (["countdown", "--show", "1", "--split", "dev"], "split 'dev'"),
        (["gsm8k:nowhere"], "nowhere"),
        (["code:nowhere.jsonl", "--show", "1"], "no file nowhere.jsonl; give a jsonl file that is there"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_line(offleash, monkeypatch, arguments, message):
    monkeypatch.delenv("OFFLEASH_DATA", raising=False)
    code, out, err = offleash(*arguments)
    assert (code, out) == (2, "")
    assert message in err and err.startswith("offleash: ") and err.count("\n") == 1


def test_problems_are_shown_with_ids_prompts_and_solutions(offleash):
    code, out, _ = offleash("own_task:Good", "--show", "2", "--level", "2", "--split", "train")
    problem = next(tasks.problems(tasks.get("own_task:Good"), 2, "train", 0))
    assert code == 0 and out.count("\nproblem 2 of level 2, train; id ") == 1
    first = f"    {problem.prompt}\n  solution (right; answer {problem.answer}; format text):\n"
    assert out.startswith(f"problem 1 of level 2, train; id {problem.id}\n{first}    {problem.answer}\n\n")
    rows = json.loads(offleash("own_task:Good", "--show", "3", "--json")[1])["problems"]
    assert [row["number"] for row in rows] == [1, 2, 3] and all(row["gold"] == row["answer"] for row in rows)
    assert all((row["level"], row["split"], row["verdict"]["correct"]) == (1, "test", True) for row in rows)


def test_what_a_solution_lacks_is_said_and_a_terminal_gets_no_escapes(offleash):
    out = offleash("own_task:Refused", "--show", "1")[1]
    assert "  solution (wrong: another number; answer x\\x1b[31m; format text):\n    x\\x1b[31m\n" in out
    assert "  no solution: task 'twice': gold raised KeyError" in offleash("own_task:Silent", "--show", "1")[1]
    assert json.loads(offleash("own_task:Silent", "--show", "1", "--json")[1])["problems"][0]["gold"] is None
    assert printable("\ud800é\t\n") == "\\ud800é\t\n"


def test_a_data_set_is_shown_where_it_has_problems_and_says_when_there_are_no_more(offleash):
    code, out, err = offleash("own_task:Few", "--show", "5")
    assert (code, out.count("problem "), err) == (0, 3, "level 2 of train has no more\n")


def test_a_verdict_is_one_line_and_the_exit_code(offleash, monkeypatch):
    monkeypatch.setattr("offleash.jobs.task_try.SEARCHED", 20)
    listed = json.loads(offleash("own_task:Good", "--show", "3", "--json")[1])["problems"]
    Path("right.txt").write_text(listed[1]["gold"] + "\n")
    judge = ("own_task:Good", "--judge", "right.txt")
    second = f"right; answer {listed[1]['gold']}; format text; problem 2 of level 1, test ({listed[1]['id'][:12]})\n"
    assert offleash(*judge, "--problem", "2") == (0, second, "")
    assert (
        offleash(*judge, "--problem", listed[1]["id"])
        == offleash(*judge, "--problem", listed[1]["id"][:7])
        == (0, second, "")
    )
    code, out, err = offleash(*judge)
    assert (code, err, out.count("\n")) == (1, "", 1) and out.startswith("wrong: another number; answer ")
    code, out, _ = offleash("own_task:Raising", "--judge", "right.txt")
    assert code == 1 and out.startswith("undecided: verify raised ValueError: no such text; format none; problem 1 ")
    code, out, _ = offleash("own_task:Exits", "--judge", "right.txt")
    assert code == 1 and out.startswith("undecided: verify raised SystemExit: 0; format none; problem 1 ")
    Path("right.txt").write_bytes(b"\xef\xbb\xbf" + listed[1]["gold"].encode() + b"\n")  # as some editors write it
    assert offleash("own_task:Fussy", *judge[1:], "--problem", "2")[0] == 0  # one by one where the batch fails
    code, out, _ = offleash(*judge, "--problem", "2", "--json")
    document = json.loads(out)
    assert code == 0 and document["verdict"]["correct"] is True and document["problem"]["id"] == listed[1]["id"]
    Path("binary").write_bytes(b"\xff")
    assert "--judge: binary is no UTF-8 text" in offleash("own_task:Good", "--judge", "binary")[2]


def test_standard_input_is_judged_and_ids_are_found_in_every_split(offleash, monkeypatch):
    problem = tasks.get("own_task:Few").listed(2, "train", 0)[2]  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(problem.answer.encode() + b"\r\n")))
    code, out, _ = offleash("own_task:Few", "--judge", "-", "--problem", problem.id)
    assert (code, out[:5]) == (0, "right") and "problem 3 of level 2, train" in out


def test_a_task_whose_data_are_missing_says_what_it_needs(offleash, monkeypatch):
    monkeypatch.delenv("OFFLEASH_DATA", raising=False)
    for name in ("gsm8k", "code", "mbpp"):
        code, out, err = offleash(name)
        assert (code, err) == (0, "") and "\n  not here  task " in out and "\n  needs     " in out
        document = json.loads(offleash(name, "--json")[1])["tasks"][0]
        assert document["missing"] and document["levels"] == []


def test_an_object_of_our_classes_is_its_files(offleash, folder):
    (folder / "rewards.py").write_text(
        "from offleash.tasks.rewards import RewardFunctions\n"
        "rows = [{'prompt': f'{a}+1='} for a in range(9)]\n"
        "TASK = RewardFunctions('sums', rows, 'math:no_such', success=1.0)\n"
        "TAKEN = RewardFunctions('countdown', rows, print, success=1.0)"
    )
    for name in ("rewards.py:TASK", "rewards:TASK"):
        document = json.loads(offleash(name, "--json")[1])["tasks"][0]
        assert document["source"] == str(folder / "rewards.py")
    code, _, err = offleash("rewards.py:TASK", "--judge", "rewards.py")
    assert code == 2 and err.startswith("offleash: functions: unknown name 'no_such'") and "(known: acos, " in err
    assert "Apache-2.0" in json.loads(offleash("strings", "--json")[1])["tasks"][0]["source"]
    with pytest.raises(InputError, match="the package has one of this name"):
        tasks.register(tasks.get("rewards.py:TAKEN"))


def test_families_take_their_arguments(offleash, tmp_path):
    code, out, _ = offleash(f"gsm8k:{DATA / 'gsm8k'}")
    assert code == 0 and "\n  source    openai/gsm8k (MIT)" in out and "drawn" not in out
    code, out, _ = offleash("math-500/numeric:" + str(DATA / "math500"), "--show", "1")
    assert code == 0 and "  solution (right; " in out
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"prompt": "Print 1.", "tests": [{"input": "", "output": "1"}], "split": "train"}))
    assert "\n  splits    train 1 problems\n" in offleash(f"code:{file}")[1]
    rows = [{"prompt": f"Print {i}.", "tests": [{"input": "", "output": f"{i}"}], "split": "train"} for i in range(9)]
    (tmp_path / "one.jsonl").write_text(
        "\n".join(json.dumps(row | {"solution": "print(7)"} if i == 7 else row) for i, row in enumerate(rows))
    )
    assert json.loads(offleash("code:one.jsonl", "--json")[1])["tasks"][0]["gold"]["given"] is True
    if not unavailable():
        Path("a.txt").write_text("```python\nprint(2)\n```\n")
        code, out, _ = offleash(f"code:{file}", "--judge", "a.txt")
        assert code == 1 and out.startswith("wrong: fails test 1; ")


@pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed")
def test_a_member_of_a_family_and_the_family(offleash):
    for name in ("nope", "composite", ""):
        code, out, err = offleash(f"reasoning-gym/{name}")
        assert (code, out) == (2, "") and f"unknown data set of reasoning-gym '{name}'" in err
    assert "max_terms=２ is not a whole number" in offleash("reasoning-gym/chain_sum:max_terms=２")[2]
    code, out, _ = offleash("reasoning-gym/chain_sum:max_terms=2", "--show", "1")
    assert code == 0 and "  solution (right; " in out
    code, _, err = offleash("reasoning-gym", "--show", "1")
    assert code == 2 and "is a family; name one of its tasks, reasoning-gym/NAME" in err


def test_the_console_script_finds_a_module_of_the_current_folder(folder):
    command = "import sys; sys.path = [p for p in sys.path if p]; from offleash.cli.main import main; main()"
    found = subprocess.run(
        [sys.executable, "-P", "-c", command, "tasks", "own_task:Good", "--show", "1"],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert (found.returncode, found.stderr) == (0, "") and found.stdout.startswith("problem 1 of level 1, test; id ")

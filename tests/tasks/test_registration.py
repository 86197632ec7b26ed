"""Tasks by decorator, entry point, module and file; and errors that say what to do."""

import importlib.metadata
import math
import sys
from pathlib import Path

import pytest

from offleash import tasks
from offleash.core import InputError, Problem, Verdict
from offleash.tasks import base, loading

FILE = '''
"""A task in a file of the user's."""
import math
from offleash import tasks
from offleash.core import Problem, Verdict

@tasks.register
class Double:
    name, version, verifier_version, levels = "double", "1", "double-1", (1,)
    def generate(self, key, level, split):
        n = sum(map(ord, str(key)))
        return Problem("double", "1", f"2*{n}=", str(2 * n), level, split)
    def verify(self, problem, text):
        return Verdict(text == problem.answer, float(text == problem.answer), text, "text", "", "double-1")
    def gold(self, problem, key=()):
        return problem.answer
    def guess(self, problem):
        return math.nan
    def traces(self, key, level, split, count):
        return [(p.prompt, p.answer) for p in (self.generate((*key, i), level, split) for i in range(count))]

made = Double()
def make():
    return Double()
def needs_more(size):
    return Double()
def fails():
    return {}["gone"]
class Nothing:
    name = "nothing"
broken = Nothing()
'''


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """What a test registers is gone after it."""
    for table in ("_TASKS", "_FAMILIES", "_MADE"):
        monkeypatch.setattr(base, table, dict(getattr(base, table)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["Double", "made", "make"])
def test_a_file_names_a_class_a_task_or_a_function(file, name):
    task = tasks.get(f"{file}:{name}")
    problem = task.generate((1,), 1, "train")
    assert task.name == "double" and task.verify(problem, task.gold(problem)).correct
    assert tasks.get(f"{file}:{name}") is task
    assert tasks.get("double").name == "double"  # the decorator has registered it


def test_a_module_by_its_dotted_name(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    assert tasks.get("mine:Double").name == "double"


def test_a_module_in_the_current_folder_is_found_for_that_import_alone(file, monkeypatch):
    (file.parent / "in_the_folder").mkdir()
    (file.parent / "in_the_folder" / "sub.py").write_text(FILE)
    (file.parent / "colorsys.py").write_text("raise RuntimeError")  # shadows nothing
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.chdir(file.parent)
    path = [place for place in sys.path if place not in ("", str(file.parent))]
    monkeypatch.setattr(sys, "path", path.copy())
    file.rename(file.with_name("in_folder.py"))
    assert tasks.get("in_folder:Double").name == tasks.get("in_the_folder.sub:made").name == "double"
    assert loading.load("colorsys:rgb_to_hsv", "task")(0, 0, 1)[2] == 1
    assert sys.path == path
    with pytest.raises(InputError, match=f"no module 'in_no_folder' in the installed packages, nor in {file.parent};"):
        tasks.get("in_no_folder:Double")
    assert sys.path == path


def test_an_installed_package_offers_tasks(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    point = importlib.metadata.EntryPoint("offered", "mine:Double", base.GROUP)
    monkeypatch.setattr(loading, "entry_points", lambda group: {"offered": point} if group == base.GROUP else {})
    assert "offered" in tasks.names() and tasks.get("offered").name == "double"
    missing = importlib.metadata.EntryPoint("gone", "no_such_module:Task", base.GROUP)
    monkeypatch.setattr(loading, "entry_points", lambda group: {"gone": missing})
    with pytest.raises(InputError, match=r"'gone' .no_such_module:Task. cannot be imported"):
        tasks.get("gone")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("countdwn", "did you mean 'countdown'"),
        ("gsm8", "did you mean 'gsm8k'"),
        ("no/such/file.py:Task", "no file no/such/file.py"),
        (
            "no_such_module:Task",
            r"no module 'no_such_module' in the installed packages, nor in /.*; install it, .*or name a file",
        ),
        ("math.none:Task", r"no module 'math.none' in 'math', which is no package; install it"),
        ("offleash.none:Task", r"no module 'offleash.none' in .*offleash; install it"),
        ("{file}:fails", r"fails: cannot be made: KeyError: 'gone' .mine.py, line \d+."),
        ("{file}:Doubel", "unknown name 'Doubel'; did you mean 'Double'"),
        ("{file}:needs_more", "needs_more: is made without arguments here"),
        ("{file}:broken", "Nothing has no version, verifier_version, levels, generate"),
        ("{file}:", r"name the object after a colon, .*mine.py:NAME"),
    ],
)
def test_errors_name_the_mend(file, name, message):
    with pytest.raises(InputError, match=message):
        tasks.get(name.replace("{file}", str(file)))


def test_a_file_that_fails_is_one_line(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"bad\.py cannot be imported: ZeroDivisionError: division by zero .bad.py, line 1."
        ):
            tasks.get(f"{path}:Task")


def test_two_files_of_one_name_do_not_collide(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"value = {value}\n")
    assert [loading.load(f"{tmp_path}/{f}/mine.py:value", "task") for f in "ab"] == [1, 2]


def test_registering_what_is_no_task():
    with pytest.raises(InputError, match="task 'half': has no version, verifier_version"):

        @tasks.register
        class Half:
            name = "half"


class Finite:
    """Three problems, judged in batches."""

    name, version, verifier_version, levels = "finite", "1", "finite-1", (1,)
    batches = 0

    def listed(self, level, split, seed):
        return [Problem(self.name, "1", str(i), str(i), 1, split) for i in range(3)]

    def generate(self, key, level, split):
        return self.listed(level, split, 0)[0]

    def verify(self, problem, text):
        return Verdict(text == problem.answer, 0.0, text, "", "", "finite-1")

    def verify_many(self, pairs):
        self.batches += 1
        return [self.verify(problem, text) for problem, text in pairs]

    def gold(self, problem, key=()):
        return problem.answer

    def guess(self, problem):
        return math.nan

    def traces(self, key, level, split, count):
        return []


def test_a_finite_task_gives_each_problem_once_and_then_says_so():
    found = tasks.problems(Finite(), 1, "test", 0)
    assert [next(found).answer for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(InputError, match="has only 3 distinct problems"):
        next(found)


def test_verify_all_uses_batches_where_a_task_has_them():
    task = Finite()
    pairs = [(p, str(2)) for p in task.listed(1, "test", 0)]
    assert [v.correct for v in tasks.verify_all(task, pairs)] == [False, False, True] and task.batches == 1
    countdown = tasks.get("countdown")
    problem = countdown.generate((1,), 3, "train")
    assert [v.correct for v in tasks.verify_all(countdown, [(problem, countdown.gold(problem)), (problem, "1")])] == [
        True,
        False,
    ]


def test_a_verifier_that_raises_leaves_a_sample_undecided_and_one_that_returns_something_else_is_named() -> None:
    class Own:
        name, version, verifier_version, levels = "own", "1", "own-1", (1,)

        def verify(self, problem: Problem, text: str) -> object:
            if text == "boom":
                raise ValueError("no such text")
            if text == "exit":
                raise SystemExit(0)
            return True

    problem = Problem("own", "1", "?", "")
    (verdict,) = tasks.verify_all(Own(), [(problem, "boom")])  # type: ignore[arg-type]
    assert verdict.correct is None and verdict.reason == "verify raised ValueError: no such text"
    (verdict,) = tasks.verify_all(Own(), [(problem, "exit")])  # type: ignore[arg-type]
    assert verdict.correct is None and verdict.reason == "verify raised SystemExit: 0"
    with pytest.raises(InputError, match="verify returned a bool"):
        tasks.verify_all(Own(), [(problem, "x")])  # type: ignore[arg-type]


def test_a_name_of_the_package_is_not_taken_over() -> None:
    class Mine(type(tasks.get("countdown"))):  # type: ignore[misc]
        name = "countdown"

    with pytest.raises(InputError, match="the package has one of this name"):
        tasks.register(Mine)
    assert type(tasks.get("countdown")).__module__.startswith("offleash.")

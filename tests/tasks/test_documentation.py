"""The examples of docs/tasks.md are tasks as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from offleash import tasks
from offleash.cli import main as cli
from offleash.tasks import base
from offleash.tasks.code import unavailable

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
EXAMPLES = {
    m[1]: m[0]
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for m in [(block, block[3 : block.index(":")])]
}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(base, "_TASKS", dict(base._TASKS))
    monkeypatch.setattr(base, "_MADE", dict(base._MADE))


def load(name: str, attribute: str, folder: Path) -> tasks.Task:
    (folder / name).write_text(EXAMPLES[name])
    return tasks.get(f"{folder / name}:{attribute}")


def test_the_worked_example_is_short_and_works(tmp_path):
    assert len(EXAMPLES["sums.py"].splitlines()) < 40
    task = load("sums.py", "Sums", tmp_path)
    for split in ("train", "test"):
        problem = task.generate((0,), 2, split)
        assert task.verify(problem, task.gold(problem)).correct is True and task.verify(problem, "x").correct is False
        assert task.traces((0,), 2, split, 2)


def run_session(page: str, first: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The session of a page that begins with a command prints what the page says, with `echo TEXT |` as a file."""
    session = re.search(rf"^(`+)\n(\$ {first}\n.*?)^\1$", page, re.DOTALL | re.MULTILINE)
    assert session
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", session[2], re.MULTILINE):
        *given, asked = command.split(" | ")
        file = folder / "text"
        file.write_text(shlex.split(given[0])[1] + "\n" if given else "")
        cli.run([str(file) if word == "-" else word for word in asked.split()[1:]])
        found = capsys.readouterr()
        assert (found.out + found.err).strip() == shown.strip()


def test_what_the_page_shows_of_the_command_line_is_what_it_prints(capsys, tmp_path):
    run_session(PAGE, "offleash tasks arithmetic --show 1", tmp_path, capsys)


def test_the_lines_of_a_code_task_are_a_file_and_its_sessions_are_what_is_printed(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "code-tasks.md").read_text()
    lines = page.split("```json\n")[1].split("```")[0]
    Path("mine.jsonl").write_text(lines.replace(', "output": "3\\n"', ""))
    run_session(page, "offleash tasks code:mine.jsonl", tmp_path, capsys)
    base._MADE.pop("code:mine.jsonl")
    Path("mine.jsonl").write_text(lines)
    assert len(tasks.get("code:mine.jsonl").everything) == 2  # type: ignore[attr-defined]
    if unavailable():
        pytest.skip(unavailable())
    run_session(page, "offleash tasks code:mine.jsonl --show 1 --split train", tmp_path, capsys)


def test_the_reward_function_example_works(tmp_path):
    pytest.importorskip("trl.rewards", reason="trl is not installed; pip install 'offleash[dev]'")
    task = load("rewards.py", "TASK", tmp_path)
    problem = task.generate((0,), 1, "train")
    assert task.verify(problem, f"\\boxed{{{problem.meta['solution'].strip('$')}}}").correct is True
    assert task.verify(problem, "\\boxed{-1}").correct is False


def test_the_column_map_example_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "test.jsonl").write_text(
        '{"problem": "1+1?", "final": "2", "difficulty": "level 2"}\n'
    )
    task = load("mine.py", "TASK", tmp_path)
    problem = task.generate((0,), 2, "test")
    assert problem.answer == "2" and task.verify(problem, "\\boxed{2}").correct is True

"""The command line: exit codes, one-line errors, one JSON document, help with examples."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from offleash import __version__
from offleash.cli import app
from offleash.cli import main as cli
from offleash.core import InputError, OffleashError

NAMES = [command.__name__ for command in app.COMMANDS]


@pytest.fixture
def offleash(capsys):
    """Run a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith("\n") and text.startswith("offleash: ")


def test_help_lists_every_command(offleash):
    code, out, err = offleash("--help")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.split("Commands:\n")[1].splitlines()] == NAMES
    assert offleash() == (0, out, "")


def test_the_commands_are_those_of_the_manual():
    """A frozen list: a command is added or removed on purpose, with its documentation."""
    assert NAMES == [
        "demo",
        "train",
        "pretrain",
        "sample",
        "compare",
        "plan",
        "audit",
        "likelihood",
        "laws",
        "report",
        "objectives",
        "tasks",
        "theory",
        "bench",
        "doctor",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_that_parse(offleash, name):
    code, out, _ = offleash(name, "--help")
    assert code == 0
    examples = [line.split() for line in out.splitlines() if line.startswith(f"    offleash {name}")]
    assert examples
    for _, _, *words in examples:
        arguments = []
        for word in words:
            if word in ("|", ">") or word.startswith("("):
                break
            arguments.append(word.strip("'"))
        command = app.typer.main.get_command(app.app)
        with command.make_context("offleash", [name, *arguments]) as context:
            inner_name, inner, rest = command.resolve_command(context, [name, *arguments])
            inner.make_context(inner_name, rest, parent=context).close()


def test_version(offleash):
    assert offleash("--version") == (0, f"offleash {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trai"], "No such command 'trai'. Did you mean 'train'"),
        (["xyzzy"], "No such command 'xyzzy'; see offleash --help"),
        (["train"], "Missing argument 'recipe'; see offleash train --help"),
        (["train", "a.yaml", "--resum"], "No such option: --resum"),
        (["tasks", "--measured-on", "many"], "Invalid value for '--measured-on'"),
        (["tasks", "--measured-on", "0"], "Invalid value for '--measured-on'"),
        (["tasks", "countdwn"], "did you mean 'countdown'"),
        (["tasks", "countdown", "surplus"], "Got unexpected extra argument"),
    ],
)
def test_a_mistyped_command_line_is_one_line_and_2(offleash, arguments, message):
    code, out, err = offleash(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert one_line(err)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("steps: 0 is below 1"), 2, "offleash: steps: 0 is below 1\n"),
        (InputError("two\nlines"), 2, "offleash: two lines\n"),
        (OffleashError("the disk is full"), 1, "offleash: the disk is full\n"),
        (KeyboardInterrupt(), 130, "offleash: interrupted; what was finished is on disk\n"),
        (KeyboardInterrupt("stopped at step 3"), 130, "offleash: stopped at step 3\n"),
    ],
)
def test_errors_become_one_line_and_their_code(offleash, monkeypatch, error, code, message):
    def fail() -> None:
        raise error

    monkeypatch.setattr("offleash.jobs.doctor.examine", fail)
    assert offleash("doctor") == (code, "", message)


def test_control_c_is_one_line_and_130(offleash, monkeypatch):
    monkeypatch.setattr("offleash.jobs.doctor.examine", lambda: signal.raise_signal(signal.SIGINT))
    assert offleash("doctor") == (130, "", "offleash: interrupted; what was finished is on disk\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "rollout"], "unknown benchmark 'rollout'; did you mean 'rollouts'?"),
        (["bench", "rollouts", "--peer", "trl"], "unknown peer 'trl'"),
    ],
)
def test_an_unknown_benchmark(offleash, arguments, message):
    code, out, err = offleash(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert one_line(err)


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Only errors a user can act on become a line; anything else must be seen."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("offleash.jobs.doctor.examine", fail)
    with pytest.raises(ZeroDivisionError):
        cli.run(["doctor"])


def test_tasks(offleash):
    from offleash.tasks import get, names

    code, out, err = offleash("tasks", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [task["name"] for task in document["tasks"]] == names()
    for task in document["tasks"]:
        assert [level["level"] for level in task["levels"]] == list(get(task["name"]).levels)
        assert all(0 < level["guess"] < 1 and level["measured_on"] == 5 for level in task["levels"])
    code, out, _ = offleash("tasks")
    assert code == 0
    assert out.splitlines()[0].split()[:3] == ["task", "version", "level"]


def test_objectives(offleash):
    from offleash.objectives import PRESETS

    code, out, err = offleash("objectives", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["name"] for row in document["objectives"]] == list(PRESETS)
    assert all(row["formula"] and row["paper"] and row["settings"] and row["proven"] for row in document["objectives"])
    code, out, _ = offleash("objectives")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[: len(PRESETS)]] == list(PRESETS)
    code, out, _ = offleash("objectives", "grpo")
    assert code == 0 and PRESETS["grpo"].formula in out
    code, out, err = offleash("objectives", "gropo")
    assert (code, out) == (2, "") and "did you mean 'grpo'" in err


def test_doctor(offleash):
    code, out, err = offleash("doctor", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["offleash"] == __version__
    assert document["engines"]["native"].startswith("available")
    assert document["threads"]["OMP_WAIT_POLICY"] == "passive"
    code, out, _ = offleash("doctor")
    assert code == 0
    assert "torch" in out


def test_report_of_a_missing_folder(offleash, tmp_path):
    code, out, err = offleash("report", str(tmp_path / "none"))
    assert (code, out) == (2, "")
    assert one_line(err)


def test_train_with_a_bad_recipe(offleash, tmp_path):
    recipe = tmp_path / "a.yaml"
    recipe.write_text("steps: 1\nobjectiv: {name: grpo}\n")
    code, out, err = offleash("train", str(recipe))
    assert (code, out) == (2, "")
    assert err == f"offleash: {recipe}: unknown key 'objectiv'; did you mean 'objective'?\n"


def test_the_program_and_the_module_are_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "offleash", "nonsense"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr)


@pytest.mark.slow
def test_a_closed_pipe_is_no_error_message(tmp_path):
    program = f"{sys.executable} -m offleash objectives --json | head -c 1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "{"
    assert done.stderr == ""


def interpreter(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("library", "command"), [("typer", "--version"), ("numpy", "doctor"), ("torch", "doctor")])
def test_control_c_while_libraries_load_is_quiet_and_130(library, command):
    code = f"""
import builtins, signal, sys
real = builtins.__import__
def interrupted(name, *rest, **more):
    if name.split(".")[0] == {library!r}:
        signal.raise_signal(signal.SIGINT)
    return real(name, *rest, **more)
builtins.__import__ = interrupted
sys.argv = ["offleash", {command!r}]
from offleash.cli.main import main
main()
"""
    done = interpreter(code)
    assert (done.returncode, done.stdout) == (130, "")
    assert one_line(done.stderr)


def test_control_c_after_the_work_changes_nothing():
    code = (
        "import atexit, signal, sys\natexit.register(signal.raise_signal, signal.SIGINT)\n"
        "sys.argv = ['offleash', '--version']\nfrom offleash.cli.main import main\nmain()"
    )
    done = interpreter(code)
    assert (done.returncode, done.stderr) == (0, "")

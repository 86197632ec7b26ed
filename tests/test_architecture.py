"""The house keeps its shape: directions, light imports, sizes, documentation."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "offleash"
FILES = sorted(SOURCE.rglob("*.py"))
BUDGETED = FILES + sorted((ROOT / "recipes").rglob("*.py")) + sorted((ROOT / "experiments").rglob("*.py"))
PACKAGES = sorted(
    ".".join(file.parent.relative_to(SOURCE.parent).parts) for file in FILES if file.name == "__init__.py"
)

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
HEAVY = ("torch", "transformers", "accelerate")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def python(code: str) -> str:
    """Standard output of a fresh interpreter that ran `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_point_one_way(monkeypatch, capsys):
    from importlinter.cli import lint_imports

    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    code = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("offleash", (*HEAVY, "numpy", "typer")),
        ("offleash.core", (*HEAVY, "scipy")),
        ("offleash.tasks", (*HEAVY, "scipy")),
        ("offleash.boundary", (*HEAVY, "scipy.stats", "pyarrow", "duckdb")),
        ("offleash.store", (*HEAVY, "pyarrow", "duckdb", "scipy")),
        ("offleash.report", (*HEAVY, "pyarrow", "duckdb")),
        ("offleash.engines", HEAVY),
        ("offleash.jobs.recipe", HEAVY),
        ("offleash.cli.main", (*HEAVY, "scipy", "pyarrow", "duckdb", "pydantic.main", "yaml", "jinja2")),
    ],
)
def test_import_is_light(module, absent):
    loaded = python(f"import sys, {module}; print(*[name for name in {absent!r} if name in sys.modules])").split()
    assert loaded == [], f"import {module} loads {loaded}"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["tasks"], ["--version"]], ids=" ".join)
def test_commands_that_need_no_torch_load_none(arguments):
    code = (
        "import sys\nfrom offleash.cli.main import run\n"
        f"code = run({arguments!r})\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])\nsys.exit(code)"
    )
    assert python(code).splitlines()[-1] == "LOADED"


def test_files_and_functions_stay_small():
    long = {name(file): lines for file in BUDGETED if (lines := len(file.read_text().splitlines())) > MAX_FILE_LINES}
    assert not long, f"files over {MAX_FILE_LINES} lines; split them by idea: {long}"
    long = {
        f"{name(file)}:{f.lineno} {f.name}": code_lines(f)
        for file in BUDGETED
        for f in functions(file)
        if code_lines(f) > MAX_FUNCTION_LINES
    }
    assert not long, f"functions over {MAX_FUNCTION_LINES} lines: {long}"


def test_every_module_says_what_it_is():
    assert [name(file) for file in FILES if not ast.get_docstring(ast.parse(file.read_text()))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package):
    module = importlib.import_module(package)
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if callable(thing) and getattr(thing, "__module__", "").startswith("offleash"):
            assert thing.__doc__, f"{package}.{public} has no docstring"


def test_only_the_top_rooms_print():
    """Results go to standard output from cli and jobs alone; a library that prints cannot be used in a pipe."""
    printing = [
        name(file)
        for file in FILES
        if file.relative_to(SOURCE).parts[0] not in ("cli", "jobs")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_nothing_is_left_unfinished_or_tied_to_one_machine():
    """No notes to self, no stub, no path of somebody's disk, in code and prose alike."""
    unwanted = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|/(work|home|root|Users|opt)/\w")
    texts = [
        file
        for pattern in (
            "*.md",
            "*.toml",
            "Makefile",
            "src/**/*.py",
            "src/**/*.j2",
            "recipes/**/*",
            "docs/**/*.md",
            "log/*.md",
        )
        for file in ROOT.glob(pattern)
        if file.is_file() and "__pycache__" not in file.parts
    ]
    found = [
        f"{name(file)}:{number}: {line.strip()}"
        for file in texts
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if unwanted.search(line)
    ]
    assert found == []


def test_dependencies_are_pinned():
    """Every distribution the project asks for has an exact version in constraints.txt; torch's has no local suffix."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip())

    def plain(distribution: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", distribution)[0]).lower()

    missing = {plain(item) for item in wanted} - {plain(item) for item in pinned}
    assert missing == set()
    assert pinned["torch"] == "2.13.0"

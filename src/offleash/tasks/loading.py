"""Objects by name: `module:attribute`, `path/to/file.py:attribute`, entry points of installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from offleash.core import InputError, rng, unknown_name

FAILURES = (Exception, SystemExit)
"""What somebody's own code may fail with: sys.exit() in it must not end the run, least of all as a success."""
_NOT_THEIRS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<")
"""Beginnings of file names: this package, the standard library, and code without a file."""


def load(path: str, field: str) -> Any:
    """What a dotted path names.

    Args:
        path: `package.module:name` or `path/to/file.py:name`; a file is run once. A module may also lie in the current folder, which
            a console script does not look into by itself.
        field: the setting the path was given as, for errors.

    Raises:
        InputError: no such module, file or name, or it fails while it is imported.
    """
    where, _, attribute = path.rpartition(":")
    if not where or not attribute:
        mend = f"name the object after a colon, {path.rstrip(':')}:NAME" if path.strip(":") else "name an object"
        raise InputError(f"{field}: {path!r} is not module:name or file.py:name; {mend}")
    module = _file(Path(where), field) if where.endswith(".py") else _module(where, field)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [name for name in dir(found) if name[0] != "_"]  # not vars(): names may be loaded when asked for
            raise InputError(f"{field}: {unknown_name('name', part, known)} in {where}")
        found = getattr(found, part)
    return found


def _module(name: str, field: str) -> ModuleType:
    try:
        with _current_folder() as folder:
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            mend = "install it, run where it can be imported, or name a file: file.py:name"
            raise InputError(f"{field}: no module {error.name!r} in {_searched(error.name, folder)}; {mend}") from error
        raise InputError(f"{field}: module {name!r} cannot be imported: {told(error)}") from error
    except FAILURES as error:
        raise InputError(f"{field}: module {name!r} cannot be imported: {told(error)}") from error


def _searched(module: str, folder: str) -> str:
    """Where a module was looked for."""
    parent = sys.modules.get(module.rpartition(".")[0])
    if parent is None:
        return f"the installed packages, nor in {folder}"
    return ", ".join(getattr(parent, "__path__", [])) or f"{parent.__name__!r}, which is no package"


@contextmanager
def _current_folder() -> Iterator[str]:
    """Let modules be found in the current folder too, after all other places: nothing that is found without it changes."""
    folder = os.getcwd()
    if folder in sys.path or "" in sys.path:
        yield folder
        return
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        yield folder
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def told(error: BaseException) -> str:
    """An error of somebody's own code in one line, with the place in that code where it came up."""
    theirs = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_NOT_THEIRS)]
    where = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return text if isinstance(error, SyntaxError) else text + where  # it says so itself


def place(owner: Any, member: str) -> str:
    """The line of somebody's own method, or of the class where the member is no method, as ` (file.py, line 3)`; "" for ours.

    >>> place(Path("a"), "nothing")
    ''
    """
    method = getattr(type(owner), member, None)
    try:
        file = inspect.getsourcefile(method if inspect.isfunction(method) else type(owner))
        line = inspect.findsource(method if inspect.isfunction(method) else type(owner))[1] + 1
    except (OSError, TypeError):  # it has no source, such as a class made in a shell
        return ""
    return "" if file is None or file.startswith(_NOT_THEIRS) else f" ({Path(file).name}, line {line})"


def _file(path: Path, field: str) -> ModuleType:
    """The module of a file; its name is a hash of its place, so two files of one name do not collide."""
    if not path.is_file():
        raise InputError(f"{field}: no file {path}; give a path that is there, or a module's name")
    name = f"offleash_file_{rng.digest(str(path.resolve())).hex()}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except FAILURES as error:
            del sys.modules[name]
            raise InputError(f"{field}: {path} cannot be imported: {told(error)}") from error
    return sys.modules[name]


@cache
def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """What installed packages offer in a group, by name; nothing is imported."""
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}


def offered(point: importlib.metadata.EntryPoint, field: str) -> Any:
    """What an entry point names; InputError where it cannot be imported."""
    try:
        return point.load()
    except FAILURES as error:
        raise InputError(f"{field}: {point.name!r} ({point.value}) cannot be imported: {told(error)}") from error


def instance(found: Any) -> Any:
    """An object itself; of a class or a function without parameters what it makes."""
    if not isinstance(found, type) and not _is_function(found):
        return found
    try:
        return found()
    except TypeError as error:
        raise InputError(
            f"{found.__name__}: is made without arguments here, but {error}; name a made one instead"
        ) from error
    except InputError:
        raise
    except FAILURES as error:
        raise InputError(f"{found.__name__}: cannot be made: {told(error)}") from error


def _is_function(found: Any) -> bool:
    return callable(found) and hasattr(found, "__code__")


def missing(made: Any, protocol: type) -> list[str]:
    """The members of a protocol that an object lacks, in the protocol's order."""
    members = [*protocol.__annotations__, *(n for n, v in vars(protocol).items() if n[0] != "_" and callable(v))]
    return [name for name in members if not hasattr(made, name)]

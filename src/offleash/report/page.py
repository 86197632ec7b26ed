"""From facts to one HTML file: templates rendered with autoescape, data and scripts embedded so that they cannot break out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from offleash.core import InputError

TWIN = "report.json"


def embedded_json(value: Any) -> str:
    r"""JSON for a script element: no `<`, `>` or `&` in it, so neither `</script>` nor `<!--` can occur.

    >>> embedded_json({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def render(template: str, figures: Mapping[str, Any], **context: Any) -> str:
    """The page of a template. `figures` are drawn by page.js; plotly.js is embedded once, and only where there are any."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_source), trim_blocks=True, lstrip_blocks=True
    )
    scripts = (_plotly(), _source("page.js")) if figures else ()
    return environment.get_template(template).render(
        **context,
        style=Markup(_source("style.css")),
        script=Markup(_source("page.js")),
        plotly=Markup(_plotly()) if figures else "",
        drawn=bool(figures),
        figures=Markup(embedded_json(figures)),
        policy=_policy(scripts),
        twin=TWIN,
    )


def write(folder: Path, html: str, facts: Mapping[str, Any]) -> Path:
    """Write report.html and its twin report.json into `folder`, each whole or not at all; returns the page's path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        twin = json.dumps(facts, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
        _replace(folder / TWIN, twin + "\n")
        return _replace(folder / "report.html", html)
    except OSError as error:
        raise InputError(
            f"--out: cannot write the report into {folder}: {error.strerror or error}; choose another folder"
        ) from error


def _replace(path: Path, text: str) -> Path:
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(text.encode("utf-8", errors="replace"))
    os.replace(partial, path)
    return path


def _policy(scripts: tuple[str, ...]) -> str:
    """A content policy under which the page can reach no network and run no script but its own.

    It is the second lock behind escaping: markup that slipped through would neither run nor load anything.
    """
    allowed = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {allowed or repr('none')}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script = str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")
    if "</script" in script.lower() or "<!--" in script:
        script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return script


def _source(name: str) -> str:
    return (resources.files("offleash.report") / "templates" / name).read_text(encoding="utf-8")

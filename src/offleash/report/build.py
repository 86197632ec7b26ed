"""`build`: a study folder or a run folder becomes report.html, with its machine twin report.json beside it."""

from __future__ import annotations

from pathlib import Path

from offleash.core import InputError
from offleash.store.files import require_writable


def build(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a study (a folder with study.json) or of a run (run.json) into `out`, by default into the folder.

    The same folder gives the same bytes: there is no time, path or random number in the page.

    Returns:
        The path of report.html. report.json beside it has every number of the page, and says in `keys` what each is.

    Raises:
        InputError: neither a study nor a run, a file in it that cannot be read, or `out` cannot be written.
    """
    from offleash.report import page, run_page, study_page
    from offleash.report.facts import study_facts

    folder = Path(folder)
    if (folder / "study.json").is_file():
        facts, template, context = study_facts(folder), "study.html.j2", study_page.context
    elif (folder / "run.json").is_file():
        facts, template, context = run_page.run_facts(folder), "run.html.j2", run_page.context
    else:
        what = "holds neither a study (study.json) nor a run (run.json)" if folder.is_dir() else "no such folder"
        raise InputError(f"{folder}: {what}; give the folder that `offleash demo` or `offleash train` wrote")
    target = Path(out) if out is not None else folder
    require_writable(target)
    variables, figures = context(facts)
    return page.write(target, page.render(template, figures, **variables), facts)

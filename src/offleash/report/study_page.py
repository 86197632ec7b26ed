"""The study's page: facts laid out for templates/study.html.j2. No number is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offleash.report import digits, figures, grid, history, sentences, tables
from offleash.report.completions import note, visible
from offleash.report.looks import Look, looks
from offleash.report.methods import METHODS

Json = Mapping[str, Any]

TITLE = 90
"""Characters of a prompt that fit into a heading; a longer one is shown whole below it."""


@dataclass
class Drawer:
    """Gathers the figures of a page and hands each chart to the template under its name."""

    figures: dict[str, Any] = field(default_factory=dict)

    def chart(
        self,
        name: str,
        title: str,
        caption: str,
        figure: Any,
        *,
        missing: str = "Nothing is measured yet.",
        short: bool = False,
    ) -> dict[str, Any]:
        """A chart for the template; where there is no figure, the sentence `missing` stands in its place."""
        if figure is not None:
            self.figures[name] = figure
        return {
            "id": name,
            "title": title,
            "caption": caption,
            "drawn": figure is not None,
            "missing": missing,
            "short": short,
        }


def context(facts: Json) -> tuple[dict[str, Any], dict[str, Any]]:
    """The template's variables, and the figures."""
    look = looks(facts["arms"])
    keys = {label: key(own) for label, own in look.items()}
    drawer = Drawer()
    variables = {
        "title": facts["title"],
        "lede": _lede(facts),
        "looks": list(keys.values()),
        "verdicts": _verdicts(facts, keys),
        "tables": [_table(facts, stratum, keys) for stratum in facts["strata"]],
        "table_note": (
            "Below each number: its 95% interval. Kept, lost, gained: problems solved at least once by both, by the "
            f"{facts['baseline']} alone, by the arm alone. Token entropy in nats. Chance: blind guesses instead of a model."
        ),
        **_charts(facts, look, drawer),
        "grids": [_grid(facts, stratum) for stratum in facts["strata"]],
        **_completions(facts, keys),
        "settings": _settings(facts),
        "methods": METHODS,
    }
    return variables, drawer.figures


def key(look: Look) -> dict[str, Any]:
    """An arm's name and look for the template."""
    return {"label": look.label, "css": look.colour, "dash": look.dash, "marker": look.marker}


def _lede(facts: Json) -> str:
    main = facts["strata"][0]
    samples = [arm["samples"] for arm in main["arms"].values() if arm["samples"]]
    if not samples:
        return "Nothing is measured yet."
    least, most = min(s["least"] for s in samples), max(s["most"] for s in samples)
    each = f"{least}" if least == most else f"{least} to {most}"
    names = " and ".join(f"{s['problem_count']} problems of {s['name']}" for s in facts["strata"])
    others = len(facts["arms"]) - 1
    text = f"Measured on {names}, {each} completions each: the {facts['baseline']} and {others} other model{'s' * (others != 1)}."
    return f"{text} The verdicts speak of these models; about a training method one run each says little."


def _verdicts(facts: Json, keys: Mapping[str, Any]) -> list[dict[str, Any]]:
    main, *others = [stratum["name"] for stratum in facts["strata"]]
    out = []
    for label in facts["arms"][1:]:
        own = {v["stratum"]: v for v in facts["verdicts"] if v["arm"] == label}
        out.append(
            {
                "look": keys[label],
                "verdict": own[main]["verdict"],
                "word": own[main]["word"],
                "sentence": own[main]["sentence"],
                "also": [f"On {name}: {lower_first(own[name]['short'])}" for name in others],
            }
        )
    return out


def lower_first(text: str) -> str:
    """The text with its first letter small.

    >>> lower_first("Widened")
    'widened'
    """
    return text[:1].lower() + text[1:]


def _table(facts: Json, stratum: Json, keys: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for row in (row for row in tables.rows(facts) if row.stratum == stratum["name"]):
        chance = row.is_chance
        support = row.support and {name: sentences.shown_count(x) for name, x in row.support.items()}
        rows.append(
            {
                "look": None if chance else keys[row.arm],
                "chance": chance,
                "missing": row.missing,
                "passes": [_cell(row.passes[k]) for k in facts["ks"] if k in row.passes],
                "support": support,
                "entropy": _cell(row.token_entropy) if row.token_entropy else None,
            }
        )
    about = f"{stratum['problem_count']} problems ({stratum['task']}, level {stratum['level']}, {stratum['split']})"
    return {
        "name": stratum["name"],
        "about": about,
        "ks": facts["ks"],
        "rows": rows,
        "notes": _table_notes(facts, stratum),
    }


def _cell(e: Json) -> dict[str, str]:
    return {
        "value": digits.number(e["value"], e["low"], e["high"]),
        "interval": digits.interval(e["low"], e["high"]),
        "reason": e.get("reason", ""),
    }


def _table_notes(facts: Json, stratum: Json) -> list[str]:
    notes = []
    for label, arm in stratum["arms"].items():
        undefined = [arm["pass_at_k"].get(str(k), {}) for k in facts["ks"]]
        notes += [f"{label}: {e['reason']}." for e in undefined if e.get("reason")]
        if arm["samples"] and arm["problem_count"] < stratum["problem_count"]:
            notes.append(f"{label}: {arm['problem_count']} of {stratum['problem_count']} problems are measured so far.")
        if arm["undecided"]:
            notes.append(f"{label}: {arm['undecided']} samples the verifier could not decide are in no number.")
        if arm["unverified"]:
            notes.append(f"{label}: {arm['unverified']} samples have no verdict yet and are in no number.")
    nulls = [a["comparison"]["support"]["null_ndr"] for a in stratum["arms"].values() if a["comparison"]]
    if nulls and nulls[0] is not None:
        notes.append(
            "Luck alone gains and loses problems too: of the problems a second run of the base would solve, "
            f"a share of about {digits.plain(nulls[0], 2)} would look gained."
        )
    return notes


def _charts(facts: Json, look: Mapping[str, Look], drawer: Drawer) -> dict[str, Any]:
    curves, differences = [], []
    for i, stratum in enumerate(facts["strata"]):
        curves.append(
            drawer.chart(
                f"curve-{i}", f"pass@k, {stratum['name']}",
                "Share of problems with at least one correct completion among k, with 95% bands. Higher at the left: more "
                "often right. Higher at the right: more problems within reach. "
                + (stratum["chance"]["reason"] and f"No chance baseline: {stratum['chance']['reason']}. "),
                figures.pass_at_k(stratum, look),
            )
        )  # fmt: skip
        differences.append(
            drawer.chart(
                f"difference-{i}", f"Difference to the {facts['baseline']}, {stratum['name']}",
                f"pass@k of each arm minus the {facts['baseline']}'s on the same problems. The band holds for all k at once "
                "(95%): where it lies wholly below or above the line at zero, the change is beyond chance.",
                figures.difference(stratum, look), missing="No arm can be compared with the base yet.",
            )
        )  # fmt: skip
    return {
        "curves": curves,
        "differences": differences,
        "path": _path(facts, look, drawer),
        **_training(facts, look, drawer),
    }


def _path(facts: Json, look: Mapping[str, Look], drawer: Drawer) -> dict[str, Any]:
    frontier = facts["frontier"]
    counted = f"the {frontier['problem_count']} problems that every point was measured on"
    caption = (
        f"Each path starts at the {facts['baseline']} and ends, at the large mark, with the final model. To the right: more "
        f"accurate. Downwards: fewer problems within reach. Compare arms at equal pass@1. Over {counted}, 95% intervals."
    )
    if not any(point["step"] is not None for path in frontier["arms"].values() for point in path):
        caption += " No checkpoint on the way was measured, so each path is one step."
    k = frontier["k"]
    return drawer.chart(
        "path", f"pass@{k} against pass@1" if k else "The largest pass@k against pass@1", caption,
        figures.frontier(frontier, look), missing=f"No path: {frontier['reason']}.",
    )  # fmt: skip


def _training(facts: Json, look: Mapping[str, Look], drawer: Drawer) -> dict[str, Any]:
    runs = facts["training"]
    charts = [
        drawer.chart(
            f"training-{metric}", history.TITLES[metric], history.CAPTIONS[metric],
            figures.training(metric, axis, runs, look), missing="No run has logged this.", short=True,
        )
        for metric, axis in history.CURVES.items()
    ]  # fmt: skip
    notes = [f"{label}: {text}" for label, run in runs.items() for text in run["notes"]]
    if not runs:
        notes.append("No training curves: no arm of this study names a run folder.")
    return {"training": charts if any(chart["drawn"] for chart in charts) else [], "training_notes": notes}


def _grid(facts: Json, stratum: Json) -> dict[str, Any]:
    base = facts["baseline"]
    return {
        "name": stratum["name"],
        "blocks": grid.blocks(stratum["problems"], facts["arms"]),
        "width": f"{grid.width(facts['arms']):g}",
        "low": "one",
        "caption": (
            f"One row a problem, the ones the {base} solves most often first; one cell an arm, with its number of correct "
            "completions. An empty frame is a problem never solved. A mark stands where an arm lost what the "
            f"{base} could solve, or gained what it could not."
        ),
        "missing": "The store holds no problem of this kind yet.",
    }


def _completions(facts: Json, keys: Mapping[str, Any]) -> dict[str, Any]:
    shown = [
        {
            "title": visible(problem["prompt"]).strip()[:TITLE],
            "because": problem["because"],
            "prompt": visible(problem["prompt"]) if len(problem["prompt"].strip()) > TITLE else "",
            "arms": [
                {"look": keys[label], "label": label, "tally": tally(arm), "texts": [text(t) for t in arm["texts"]]}
                for label, arm in problem["arms"].items()
            ],
        }
        for problem in facts["completions"]
    ]
    return {
        "completions": shown,
        "completions_note": (
            f"From {facts['strata'][0]['name']}: of each arm the two most frequent correct texts and the three most frequent "
            "others, different kinds of failure first. All text is the models' own."
        ),
        "completions_missing": "There is no completion to show yet: no arm has samples.",
    }


def tally(arm: Json) -> str:
    """How often an arm solved a problem, and how varied its texts are."""
    return f"{arm['c']} of {arm['n']} correct, {arm['distinct_texts']} different texts"


def text(entry: Json) -> dict[str, Any]:
    """A completion for the template."""
    return {"text": visible(entry["text"]), "correct": entry["correct"], "note": note(entry)}


def _settings(facts: Json) -> dict[str, Any]:
    settings = facts["settings"]
    names = [stratum["name"] for stratum in facts["strata"]]
    drawn: dict[tuple[str, str], int] = {(r["model"], r["stratum"]): r["samples"] for r in settings["samples"]}
    rows = []
    for name, record in settings["models"].items():
        own = [r for r in settings["samples"] if r["model"] == record["id"]]
        rest = ", ".join(f"{k} {v}" for k, v in sorted(record.items()) if k not in ("id", "label"))
        cells = [f"{drawn[record['id'], n]:,}" if (record["id"], n) in drawn else digits.UNDEFINED for n in names]
        with_what = [", ".join(sorted({str(r[field]) for r in own})) for field in ("sampler", "seed")]
        rows.append([str(record.get("label", name)), str(record["id"])[:12], *cells, *with_what, rest])
    head = ["model", "identity", *(f"samples, {n}" for n in names), "sampler", "seed", "from"]
    found = [
        {"name": "Models and their samples", "head": head, "rows": rows, "mono": False, "wrap": True},
        *(sampler_table(name, value) for name, value in settings["samplers"].items()),
    ]
    recipes = [{"label": label, "text": run["recipe"]} for label, run in facts["training"].items() if run["recipe"]]
    notes = [] if settings["models"] else ["The store holds no model of this study yet."]
    judged = f"Verified by {', '.join(settings['verifiers'])}." if settings["verifiers"] else ""
    return {"tables": [table for table in found if table["rows"]], "recipes": recipes, "notes": notes, "judged": judged}


def sampler_table(name: str, settings: Json) -> dict[str, Any]:
    """A sampler's settings as a two-column table."""
    rows: Sequence[Sequence[str]] = [[str(k), str(v)] for k, v in sorted(settings.items())]
    return {"name": f"Sampler {name}", "head": ["setting", "value"], "rows": rows, "mono": True, "wrap": False}

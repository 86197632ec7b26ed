"""Critiques to train on, from a model's own samples: what does this candidate really come to?

    offleash sample --model base --task countdown --level 5 --split train --problems 500 --n 8 --out runs/candidates
    python recipes/countdown/critiques.py runs/candidates base runs/critiques.jsonl
    offleash train recipes/countdown/critique.yaml --out runs/critique

A line is {"prompt": the problem, the candidate and "=", "text": its exact value}. The model reads what was tried, and learns to
judge it, not to imitate it (critique fine-tuning, Y. Wang et al., arXiv 2501.17703, with a verifier in place of the teacher).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from offleash.store import Store


def main(store: str, model: str, out: str) -> None:
    """Write one critique for each distinct candidate that the verifier could read."""
    opened = Store.open(store)
    prompts = {p.problem.id: p.problem.prompt for p in opened.problems(task="countdown")}
    lines: dict[str, None] = {}
    for row in opened.rows(model, task="countdown").to_pylist():
        if row["format"] == "expression":
            lines[json.dumps({"prompt": f"{prompts[row['problem_id']]}{row['text']}=", "text": row["answer"]})] = None
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} critiques in {out}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])

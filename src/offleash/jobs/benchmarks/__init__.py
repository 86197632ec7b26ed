"""`offleash bench`: speed beside a peer in one process, alternating, so that both meet the same machine.

A ratio is the median over pairs (ours, then the peer's, on the same work), held against the work's own target.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any

import torch

from offleash.core import unknown_name
from offleash.jobs.benchmarks import boundary, objectives, rollouts, scoring, step, step_curves

Row = dict[str, Any]
WORK: dict[str, dict[str, Callable[[], list[Row]]]] = {
    "rollouts": {"transformers": rollouts.beside_transformers},
    "objectives": {"by-hand": objectives.beside_by_hand},
    "scoring": {"full-logits": scoring.beside_full_logits},
    "boundary": {"passk-inference": boundary.beside_passk_inference},
    "step": {"trl": step.beside_trl, "trl-curves": step_curves.curves_beside_trl},
}


def run(what: str, *, peer: str | None = None, as_json: bool = False) -> dict[str, Any]:
    """Time one kind of work beside a peer (its first one by default) and print the ratios."""
    if what not in WORK:
        raise unknown_name("benchmark", what, WORK)
    peer = peer or next(iter(WORK[what]))
    if peer not in WORK[what]:
        raise unknown_name("peer", peer, WORK[what])
    rows = WORK[what][peer]()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    result = {"workloads": rows, "peer": peer, "torch": torch.__version__, "threads": threads, "device": device}
    if as_json:
        print(json.dumps(result, indent=2))
        return result
    for row in rows:
        met = row["ratio"] >= row["target"] if row["better"] == "higher" else row["ratio"] <= row["target"]
        bound = "at least" if row["better"] == "higher" else "at most"
        print(
            f"{row['name']}: {row['ratio']:.2f}x {peer} (pairs {row['low']:.2f} to {row['high']:.2f}; target {bound} "
            f"{row['target']:g}x{'' if met else ', missed'}); {row['ours']:.4g} against {row['peer']:.4g} {row['unit']}"
        )
    print(f"torch {torch.__version__}, {threads} threads, {device}")
    return result

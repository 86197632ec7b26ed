"""The statistics beside passk-inference on the same counts: 1,000 problems x 1,024 samples, 10,000 replicates, all k.

Seconds are CPU seconds of all threads, which other work on the machine does not change: with OPENBLAS_NUM_THREADS=1 those of
one core, otherwise never fewer. Wall time stands beside them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from offleash.boundary import Counts, difference
from offleash.core import InputError, rng

PROBLEMS, SAMPLES, REPLICATES, PAIRS = 1000, 1024, 10_000, 3
TARGET, SECONDS = 1.0, 2.0
"""CPU time of the paired band as a multiple of the peer's, and in seconds of one core."""


def beside_passk_inference() -> list[dict[str, Any]]:
    """The paired difference with its simultaneous band, over every k from 1 to n."""
    try:
        import passk_inference
    except ImportError as error:
        raise InputError("passk-inference: is not installed; pip install passk-inference") from error
    draw = rng.stream("bench boundary")
    rate = draw.beta(0.15, 0.35, PROBLEMS)
    ids, n = tuple(f"{i:05d}" for i in range(PROBLEMS)), np.full(PROBLEMS, SAMPLES)
    a = Counts(ids, draw.binomial(SAMPLES, rate), n)
    b = Counts(ids, draw.binomial(SAMPLES, np.where(draw.random(PROBLEMS) < 0.1, 0.0, rate**0.7)), n)
    ks = tuple(range(1, SAMPLES + 1))

    def ours() -> Any:
        return difference(a, b, ks, replicates=REPLICATES)

    def theirs() -> Any:
        return passk_inference.compare(a.c, a.n, b.c, b.n, ks=ks, bootstrap=REPLICATES)

    gap = np.abs(ours().value - np.array(theirs()["mean"])).max()
    if gap > 1e-9:
        raise InputError(f"passk-inference: its pass@k differs from ours by {gap:.2g}")
    rounds = [(_seconds(ours), _seconds(theirs)) for _ in range(PAIRS)]
    ratios = [x.cpu / y.cpu for x, y in rounds]
    ours_cpu = statistics.median(x.cpu for x, _ in rounds)
    return [
        {
            "name": f"paired band, {PROBLEMS} problems x {SAMPLES} samples, {REPLICATES} replicates, every k",
            "unit": f"CPU s (at most {SECONDS:g})",
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "target": TARGET,
            "better": "lower",
            "ours": ours_cpu,
            "peer": statistics.median(y.cpu for _, y in rounds),
            "seconds_target": SECONDS,
            "seconds_met": ours_cpu <= SECONDS,
            "wall_ratio": statistics.median(x.wall / y.wall for x, y in rounds),
            "wall_ours": statistics.median(x.wall for x, _ in rounds),
            "wall_peer": statistics.median(y.wall for _, y in rounds),
            "pairs": PAIRS,
            "dtype": "float64",
        }
    ]


class _Seconds(NamedTuple):
    cpu: float
    wall: float


def _seconds(work: Callable[[], Any]) -> _Seconds:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return _Seconds(time.process_time() - cpu, time.perf_counter() - wall)

"""`offleash compare MODEL MODEL --adaptive`: draw only where the verdict is open.

    rule (`boundary.next_draws`) -> draws of both models -> verdicts -> verdict of the study so far -> rule ...

The rule is one of sample numbers 0, 1, 2, ... of each problem, so it gives the same answer whether these samples are drawn now or
lie in the store already, from this call stopped half way or from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offleash.boundary import Counts, SequentialVerdict, next_draws, unseen_bound, verdict_when_stopped
from offleash.boundary.sequential import Draws
from offleash.boundary.stopping import design, states
from offleash.core import InputError, Problem
from offleash.jobs.display import progress, say
from offleash.jobs.sampled import Order, complete, folder_of, is_model, labels
from offleash.store import Store

Json = dict[str, Any]

PATIENCE = 4
"""A problem whose samples the verifier cannot judge is asked for again, up to this many times the draws of the rule."""


def compare_adaptively(texts: Sequence[str], order: Order | None, *, k: int | None, n: int | None) -> tuple[Json, str]:
    """The document and the text.

    Args:
        texts: two models.
        order: how to sample.
        k: judge pass@k here; n // 2 where None.
        n: what a study with a fixed number of samples would draw of each problem; 2 k where None.

    Raises:
        InputError: not two models, or something of the order is missing.
    """
    if len(texts) != 2 or not all(is_model(text, measured=True) for text in texts):
        raise InputError(
            "--adaptive: draws from two models, and from two only; give two model folders, runs, or `base`, as in offleash compare base "
            "runs/grpo/checkpoints/step_240 --task countdown --n 256 --out runs/compared --adaptive"
        )
    if n is None and k is not None:
        n = 2 * k
    order, _, _ = complete(order, n, texts[0])
    assert n is not None  # `complete` refused it
    judged = max(1, n // 2) if k is None else k
    if judged < 2 or judged > n:
        raise InputError(f"--k: {judged}; adaptive sampling judges at a k from 2 to --n {n}")
    study = _Study(texts, order)
    rounds = []
    with progress("drawing where open", 2 * judged * 2 * len(study.problems)) as report:
        while True:
            counts = study.counts()
            draws = next_draws(*counts, budget=2**62, epsilon=(epsilon := unseen_bound(judged)))
            if counts[0].n.min() > 0 and counts[1].n.min() > 0:
                verdict = verdict_when_stopped(*counts, epsilon)
                rounds.append({"draws": verdict.draws, "verdict": verdict.verdict, "agreement": verdict.agreement})
                report(verdict.draws, f"{verdict.verdict} {verdict.agreement:.0%}")
                if verdict.final or not draws.total:
                    break
            study.draw(draws, PATIENCE * design(epsilon).cap)
    fixed = 2 * n * len(study.problems)
    return _document(verdict, study, counts, rounds, fixed), _text(verdict, study, rounds, fixed)


class _Study:
    """Two models, the same problems, and how many samples of each the rule has taken so far."""

    def __init__(self, texts: Sequence[str], order: Order) -> None:
        from offleash import tasks
        from offleash.engines.episodes import stops_of
        from offleash.jobs.sample import choose, source
        from offleash.store import open_or_create

        assert order.task is not None and order.out is not None
        self.order = order
        self.task = tasks.get(order.task)
        self.problems: list[Problem] = choose(self.task, order.level_sampled(), order.split, order.seed, order.problems)
        self.names = [labels(texts)[text] for text in texts]
        self.sources = [
            source(folder_of(text), name, order.temperature, order.max_completion_length, stop=stops_of(self.task))
            for text, name in zip(texts, self.names, strict=True)
        ]
        if self.sources[0].ids.model == self.sources[1].ids.model:
            say("both sides are the same weights; what follows is the null")
        for made in self.sources:
            made.check(p.prompt for p in self.problems)
        self.store: Store = open_or_create(order.out / "store")
        self.ids = tuple(sorted(p.id for p in self.problems))
        self.taken = [dict.fromkeys(self.ids, 0) for _ in self.sources]

    def counts(self) -> tuple[Counts, Counts]:
        """Of the samples taken: a store may hold more than the rule has asked for."""
        found = []
        for made, taken in zip(self.sources, self.taken, strict=True):
            c, n = dict.fromkeys(self.ids, 0), dict.fromkeys(self.ids, 0)
            if any(taken.values()):
                for row in self._rows(made.ids.model, made.ids.sampler):
                    if row["index"] < taken.get(row["problem_id"], 0) and row["correct"] is not None:
                        c[row["problem_id"]] += bool(row["correct"])
                        n[row["problem_id"]] += 1
            found.append(Counts(self.ids, np.array(list(c.values())), np.array(list(n.values()))))
        return found[0], found[1]

    def _rows(self, model: str, sampler: str) -> list[Json]:
        o = self.order
        table = self.store.rows(
            model, level=o.level_sampled(), task=self.task.name, split=o.split, sampler=sampler, seed=o.seed
        )
        rows: list[Json] = table.select(["problem_id", "index", "correct"]).to_pylist()
        return rows

    def draw(self, draws: Draws, most: int) -> None:
        """Take the samples asked for; what is on disk is not drawn again.

        Raises:
            InputError: a problem's samples cannot be judged.
        """
        from offleash.jobs.sample import BATCH
        from offleash.sampling.fill import fill

        for made, taken, more in zip(self.sources, self.taken, (draws.a, draws.b), strict=True):
            wanted: dict[int, set[str]] = {}
            for name, add in zip(draws.ids, more, strict=True):
                if add:
                    taken[name] += int(add)
                    if taken[name] > most:
                        raise InputError(
                            f"problem {name}: the verifier could judge too few of its {most} samples; leave it out"
                        )
                    wanted.setdefault(taken[name], set()).add(name)
            for n, names in sorted(wanted.items()):
                fill(
                    self.store, made.sampler, self.task, [p for p in self.problems if p.id in names], model=made.about, n=n,
                    settings=made.sampler.settings(), seed=self.order.seed, batch=BATCH,
                )  # fmt: skip


def _document(
    verdict: SequentialVerdict, study: _Study, counts: tuple[Counts, Counts], rounds: list[Json], fixed: int
) -> Json:
    plan = design(unseen_bound(verdict.k))
    kinds = [states(side, plan) for side in counts]
    a, b = counts
    return {
        "difference": {str(verdict.k): {"value": verdict.value, "low": verdict.low, "high": verdict.high}},
        "k": verdict.k,
        "problems": [
            {
                "id": name,
                "a": {"c": int(a.c[i]), "n": int(a.n[i]), "state": str(kinds[0][i])},
                "b": {"c": int(b.c[i]), "n": int(b.n[i]), "state": str(kinds[1][i])},
            }
            for i, name in enumerate(a.ids)
        ],
        "gained": list(verdict.gained),
        "lost": list(verdict.lost),
        "states": {side: dict(kinds) for side, kinds in verdict.states.items()},
        "draws": verdict.draws,
        "fixed_draws": fixed,
        "open": verdict.open,
        "agreement": verdict.agreement,
        "final": verdict.final,
        "rounds": rounds,
        "verdict": verdict.verdict,
        "because": verdict.because,
        "inputs": {"a": study.names[0], "b": study.names[1]},
    }


def _text(verdict: SequentialVerdict, study: _Study, rounds: Sequence[Mapping[str, Any]], fixed: int) -> str:
    from offleash.jobs.display import aligned

    header = ("round", "draws", "verdict so far", "futures that agree")
    rows = [(str(i + 1), str(r["draws"]), str(r["verdict"]), f"{r['agreement']:.0%}") for i, r in enumerate(rounds)]
    kinds = "; ".join(
        f"{label} {name}: " + ", ".join(f"{count} {kind}" for kind, count in verdict.states[side].items())
        for label, side, name in zip("AB", "ab", study.names, strict=True)
    )
    return "\n".join(
        [
            *aligned(header, rows),
            "",
            f"p > {unseen_bound(verdict.k):.2g} at 95%: {kinds}",
            f"{verdict.draws} draws, {verdict.draws / fixed:.0%} of the {fixed} of a fixed number of samples",
            f"verdict at k={verdict.k}: {verdict.verdict}",
            verdict.because,
        ]
    )

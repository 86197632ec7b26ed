"""A method against its base over several training seeds: seed, problem and sample as three sources of chance.

One trained model is one draw of a method; another seed would have given another model. An interval that resamples problems
alone speaks of these checkpoints: where seeds vary as much as problems do it holds the method's truth 74% of the time, where
they vary more 31%. Resampling the few seeds as well hardly helps (the pigeonhole bootstrap of three: 85% and 74%). Measured
in docs/results/seeds_coverage.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offleash.boundary import resample
from offleash.boundary.counts import Counts, join
from offleash.boundary.difference import Difference, from_replicates, grid, shared_n
from offleash.boundary.null import fit_difficulty
from offleash.boundary.passk import check_ks, pass_at_k, pass_matrix
from offleash.core import InputError, rng, unknown_name

Floats = NDArray[np.float64]
Population = Literal["new", "these"]

SHARES = ("seed", "problem", "interaction", "sample")
_SAYS = {
    "new": "new training seeds on new problems of the same kind",
    "these": "new training seeds on exactly these problems",
}


@dataclass(frozen=True, eq=False)
class SeedDifference:
    """What a method does to pass@k, over S training seeds and P problems.

    Attributes:
        difference: mean over seeds and problems of pass@k of the method minus pass@k of the base, with pointwise
            intervals and a band simultaneous over the K ks; NaN throughout where `reason` is set.
        per_seed: (S, K) the same for each seed alone, in the order given.
        shares: name of SHARES -> (K,) share of the variance of the mean that comes from it; they sum to 1, NaN where
            nothing varies. "interaction": a seed that is good at other problems than the next.
        seeds: S.
        population: what the interval speaks of, in words.
        caveat: what to say beside the interval; "" from 5 seeds on.
        reason: why there is no interval, else "".
    """

    difference: Difference
    per_seed: Floats
    shares: Mapping[str, Floats]
    seeds: int
    population: str
    caveat: str
    reason: str = ""


def seed_difference(
    methods: Sequence[Counts],
    base: Counts | Sequence[Counts],
    ks: Iterable[int] | None = None,
    *,
    problems: Population = "new",
    level: float = 0.95,
    seed: int = 0,
    replicates: int = resample.REPLICATES,
) -> SeedDifference:
    """Mean difference of pass@k between a method and its base, with bands that allow for seed, problem and sample.

    Model: D[s, p] = mu + seed_s + problem_p + rest_sp, crossed; the rest holds the interaction and the samples. Each
    replicate adds two independent parts. Problems: the Dirichlet bootstrap of `resample` on each problem's mean over
    seeds, which carries sigma_problem^2 / P + sigma_rest^2 / (S P). Seeds: the fiducial distribution of sigma_seed^2 / S
    (Behrens-Fisher): the seed means' deviations, mixed by normal weights and scaled by 1 / chi of S - 1 degrees, less what
    the rest alone would give. A pure seed effect gets Student's t of S - 1 degrees, exact; in between it is conservative.
    With two seeds the band is Bonferroni's over the ks.

    Population, `problems`: "new" - new seeds and new problems from the same source. "these" - new seeds on these P
    problems: the seed means with their t, plus the sampling noise of a base that all seeds share. Either way seeds that
    fail rarely (one run in twenty collapses) are beyond what a few seeds can show.

    Args:
        methods: S counts, one for each training seed, over the same problems.
        base: one counts for all seeds, or S of them, one for each seed (seeds and bases then vary together).
        ks: draws; default a grid up to the samples that all have, which must then be the same for all.
        problems: the population of the interval.
        level: nominal coverage.
        seed: of the bootstrap; the same input and seed give the same numbers.
        replicates: of the bootstrap.

    Returns:
        SeedDifference; with one seed NaN and the reason, since one seed says nothing of a method.

    Raises:
        InputError: no seed, other problems on some side, a number of bases that is neither 1 nor S, budgets that differ
            where no ks are given, or a k beyond the samples of some problem.
    """
    resample.check_level(level)
    if problems not in _SAYS:
        raise unknown_name("problems", problems, _SAYS)
    rows, bases = _aligned(methods, base)
    chosen = _draws(rows, bases, ks)
    shared = len(bases) == 1
    values_SPK = np.stack([pass_matrix(row, chosen) for row in rows])
    values_SPK = values_SPK - np.stack([pass_matrix(one, chosen) for one in bases])
    count = len(rows)
    if count == 1:
        return _refused(chosen, values_SPK, level, _SAYS[problems])
    noise = [np.mean([sampling_covariance(x, chosen) for x in side], axis=0) for side in (rows, bases)]
    parts = _parts(values_SPK, noise, shared)
    generator = rng.stream("boundary", "seeds", seed)
    drift = _seed_part(values_SPK, generator, replicates, resampled=problems == "new")
    centre = values_SPK.mean(axis=0)
    drawn = resample.draw(centre, seed=seed, replicates=replicates)
    if problems == "these":
        drift = drift + centre.mean(axis=0)
        if shared:
            drift = drift + _gaussian(noise[1] / len(centre), replicates, generator)
        drawn = replace(drawn, sums=np.zeros_like(drawn.sums))
    drawn = replace(drawn, sums=drawn.sums + drawn.total[:, None] * drift)
    diff = from_replicates(chosen, centre, drawn, level)
    if count == 2:
        # Two seeds' curves cross somewhere by chance, and there they look alike: the band must not lean on their shape.
        low, high = resample.ends(drawn, (-1.0, 1.0), (1 - level) / 2 / len(chosen), resample.SIGNED)
        diff = replace(diff, low=low, high=high)
    clipped = {name: np.clip(getattr(diff, name), -1.0, 1.0) for name in ("low", "high", "point_low", "point_high")}
    method = (
        f"mean over {count} training seeds; {_SAYS[problems]}; Behrens-Fisher of the seed means (t of {count - 1} degrees) "
        f"and {resample.METHOD}; {level:.0%} {'Bonferroni' if count == 2 else 'balanced sup-t'} over {len(chosen)} values of k"
    )
    return SeedDifference(
        replace(diff, method=method, **clipped), values_SPK.mean(axis=1), parts, count, _SAYS[problems], _caveat(count)
    )


def sampling_covariance(counts: Counts, ks: Sequence[int]) -> Floats:
    """(K, K) covariance over ks of a problem's estimated pass@k around its true one, averaged over problems.

    Exact for the distribution of success rates that `fit_difficulty` finds: the pass@k of every possible c, weighted by
    its probability, less the squared truth.

    Args:
        counts: P problems, n >= the largest k.
        ks: K draws.
    """
    from scipy.special import gammaln, xlog1py, xlogy

    fitted = fit_difficulty(counts)
    live = fitted.weights > 1e-9
    rates, weights = fitted.rates[live], fitted.weights[live]
    draws = np.asarray(ks, dtype=np.int64)
    with np.errstate(divide="ignore"):
        true = -np.expm1(draws[None, :] * np.log1p(-rates)[:, None])
    out = np.zeros((len(draws), len(draws)))
    for n, repeats in zip(*np.unique(counts.n, return_counts=True), strict=True):
        c = np.arange(n + 1)
        ways = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
        marginal = weights @ np.exp(ways + xlogy(c, rates[:, None]) + xlog1py(n - c, -rates[:, None]))
        table = pass_at_k(c[:, None], np.full((1, 1), n), draws[None, :])
        out += repeats * (table.T @ (marginal[:, None] * table) - true.T @ (weights[:, None] * true))
    return np.asarray(out / len(counts))


def _aligned(methods: Sequence[Counts], base: Counts | Sequence[Counts]) -> tuple[list[Counts], list[Counts]]:
    """Method and base counts sorted by id; one base where all seeds share it."""
    bases = [base] if isinstance(base, Counts) else list(base)
    if len(methods) == 0:
        raise InputError("methods: no training seed in them; give one counts for each seed")
    if not isinstance(base, Counts) and len(bases) != len(methods):
        raise InputError(
            f"base: {len(bases)} counts for {len(methods)} training seeds; give one for all, or one for each"
        )
    first = bases[0]
    for name, side in (("methods", methods), ("base", bases)):
        for number, one in enumerate(side, start=1):
            join(first, one)  # names the two sides where they share nothing
            if set(one.ids) != set(first.ids):
                odd = sorted(set(one.ids) ^ set(first.ids))[0]
                raise InputError(
                    f"id: {name} number {number} differs from the first base in problem {odd!r}; measure every seed on "
                    "the same problems, or keep the common ones with join"
                )
    return [one.sorted() for one in methods], [one.sorted() for one in bases]


def _draws(rows: list[Counts], bases: list[Counts], ks: Iterable[int] | None) -> tuple[int, ...]:
    least = [shared_n(bases[0], one) for one in (*rows, *bases)]
    most = min(int(one.n.min()) for one in (*rows, *bases))
    if ks is None:
        if len({int(one.n.min()) for one in (*rows, *bases)}) > 1:
            raise InputError(
                f"n: the least samples per problem differ between seeds or base ({min(least)} to "
                f"{max(int(one.n.min()) for one in (*rows, *bases))}); sample all alike, or give ks up to {most}"
            )
        return grid(most)
    chosen = check_ks(ks)
    if chosen[-1] > most:
        raise InputError(
            f"k: {chosen[-1]} exceeds the samples of some problem (least n is {most}); ask for k <= {most}, or sample more"
        )
    return chosen


def _seed_part(values_SPK: Floats, generator: np.random.Generator, replicates: int, *, resampled: bool) -> Floats:
    """(R, K) fiducial deviations of the mean over seeds.

    `resampled`: the problems are resampled besides, so what the rest (interaction and samples) alone gives is taken out.
    """
    seeds, problems, _ = values_SPK.shape
    means = values_SPK.mean(axis=1)
    away = means - means.mean(axis=0)
    chi_square = generator.chisquare(seeds - 1, replicates)[:, None]
    drift = generator.standard_normal((replicates, seeds)) @ away / np.sqrt(seeds * chi_square)
    if not resampled:
        return np.asarray(drift)
    rest = _rest(values_SPK) / problems  # variance of a seed's mean without any seed effect
    spread = (away**2).sum(axis=0)
    kept = 1 - np.divide(rest * chi_square, spread, out=np.ones((replicates, len(rest))), where=spread > 0)
    return np.asarray(drift * np.sqrt(np.maximum(kept, 0)))


def _rest(values_SPK: Floats) -> Floats:
    """(K,) mean square of what neither seed nor problem explains."""
    seeds, problems, _ = values_SPK.shape
    by_seed, by_problem = values_SPK.mean(axis=1, keepdims=True), values_SPK.mean(axis=0, keepdims=True)
    left = values_SPK - by_seed - by_problem + values_SPK.mean(axis=(0, 1), keepdims=True)
    return np.asarray((left**2).sum(axis=(0, 1)) / ((seeds - 1) * max(problems - 1, 1)))


def _parts(values_SPK: Floats, noise: list[Floats], shared: bool) -> dict[str, Floats]:
    """Shares of the variance of the mean: moment estimates of the crossed components, negative ones set to 0."""
    seeds, problems, _ = values_SPK.shape
    rest = _rest(values_SPK)
    between = values_SPK.mean(axis=1).var(axis=0, ddof=1)
    among = values_SPK.mean(axis=0).var(axis=0, ddof=1) if problems > 1 else np.zeros_like(rest)
    method, base = (np.maximum(np.diag(x), 0) for x in noise)
    own = method if shared else method + base  # sampling variance of one cell that no other seed shares
    common = base if shared else np.zeros_like(base)
    parts = {
        "seed": np.maximum(between - rest / problems, 0) / seeds,
        "problem": np.maximum(among - rest / seeds - common, 0) / problems,
        "interaction": np.maximum(rest - own, 0) / (seeds * problems),
        "sample": common / problems + own / (seeds * problems),
    }
    total = np.sum([parts[name] for name in SHARES], axis=0)
    return {
        name: np.divide(parts[name], total, out=np.full_like(total, np.nan), where=total > 1e-15) for name in SHARES
    }


def _gaussian(covariance: Floats, replicates: int, generator: np.random.Generator) -> Floats:
    """(R, K) normal deviations with this covariance."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(generator.standard_normal((replicates, len(covariance))) @ root.T)


def _caveat(seeds: int) -> str:
    if seeds >= 5:
        return ""
    if seeds == 2:
        return (
            "ONLY TWO TRAINING SEEDS: one degree of freedom, so the interval is about six times as wide as the two suggest and "
            "the band over k wider still; a claim about the method needs at least three"
        )
    return f"{seeds} training seeds leave {seeds - 1} degrees of freedom; rare failures of training do not show"


def _refused(ks: tuple[int, ...], values_SPK: Floats, level: float, population: str) -> SeedDifference:
    nan = np.full(len(ks), np.nan)
    reason = (
        "one training seed: how much another seed would differ is unknown, so nothing can be said of the method; "
        "`difference` compares this checkpoint with its base, and two more seeds allow a claim"
    )
    diff = Difference(ks, nan, nan, nan, nan, nan, values_SPK.shape[1], level, "refused: one training seed")
    return SeedDifference(
        diff, values_SPK.mean(axis=1), dict.fromkeys(SHARES, nan), 1, population, "ONLY ONE TRAINING SEED", reason
    )

"""Verifier audits: agreement, false positives, what they do to pass@k; successes that guessing explains."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from offleash.boundary import (
    Counts,
    agreement,
    chance_corrected,
    chance_curve,
    clopper_pearson,
    corrected_curve,
    curve,
    false_pass,
    false_positive_rate,
    false_share,
    guess_report,
)
from offleash.boundary.audit import cohens_kappa
from offleash.core import Estimate, InputError


def counts(c: object, n: int | list[int]) -> Counts:
    c = np.asarray(c)
    return Counts(tuple(f"p{i:04d}" for i in range(len(c))), c, np.broadcast_to(np.asarray(n), c.shape).copy())


def verdicts(table: tuple[int, int, int, int]) -> tuple[list[bool | None], list[bool | None]]:
    """both, only the first, only the second, neither."""
    first = [True, True, False, False]
    second = [True, False, True, False]
    return tuple([side[i] for i in range(4) for _ in range(table[i])] for side in (first, second))  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------------ agreement


def test_kappa_by_hand() -> None:
    """Cohen 1960 by hand: 20, 5, 10, 15 of 50: p_o .7, p_e .6 * .5 + .4 * .5 = .5 by the margins .5 and .6, kappa .4."""
    got = agreement(*verdicts((20, 5, 10, 15)))
    assert got.kappa.value == pytest.approx(0.4) and got.table == {
        "both": 20,
        "only_first": 5,
        "only_second": 10,
        "neither": 15,
    }
    assert got.disagreement.value == pytest.approx(0.3) and got.only_first.value == 0.1 and got.only_second.value == 0.2
    assert got.sign_p == pytest.approx(stats.binomtest(5, 15).pvalue)
    exact = stats.binomtest(15, 50).proportion_ci(method="exact")
    assert (got.disagreement.low, got.disagreement.high) == pytest.approx((exact.low, exact.high))


def test_kappa_at_its_ends() -> None:
    assert cohens_kappa(np.array([30.0, 0, 0, 20])) == pytest.approx(1)
    assert cohens_kappa(np.array([25.0, 25, 25, 25])) == pytest.approx(0)
    assert cohens_kappa(np.array([0.0, 25, 25, 0])) == pytest.approx(-1)
    same = agreement(*verdicts((40, 0, 0, 0)))
    assert math.isnan(same.kappa.value) and same.kappa.reason and math.isnan(same.sign_p)
    perfect = agreement(*verdicts((30, 0, 0, 20)))
    assert perfect.kappa.value == 1 and 0.8 < perfect.kappa.low < 0.99  # 50 agreements do not prove the next


def test_where_both_pass_everything_kappa_is_undefined_without_a_warning() -> None:
    """pytest turns warnings into errors: numpy's "All-NaN slice" must not reach a user."""
    for verdict in (True, False):
        got = agreement([verdict] * 8, [verdict] * 8, [f"p{i % 4}" for i in range(8)])
        assert math.isnan(got.kappa.value) and "the same verdict" in got.kappa.reason
        assert got.disagreement.value == 0 and 0 < got.disagreement.high < 1


def test_undecided_are_counted_and_left_out() -> None:
    got = agreement([True, None, False, None], [True, True, None, None])
    assert got.samples == 1 and got.undecided == (2, 2) and got.disagreement.value == 0
    document = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert document["kappa"]["value"] is None and document["kappa"]["reason"]


def test_interval_of_kappa_covers() -> None:
    """Between 92.5% and 97.5%: 95% and three standard errors of 1,000 sets (0.7%), rounded up."""
    generator = np.random.default_rng(0)
    shares = np.array([0.3, 0.04, 0.02, 0.64])
    truth, held = float(cohens_kappa(shares)), 0
    for seed in range(1000):
        got = agreement(*verdicts(tuple(generator.multinomial(200, shares))), replicates=1000, seed=seed).kappa
        held += got.low <= truth <= got.high
    assert 0.925 <= held / 1000 <= 0.975


@pytest.mark.slow
def test_trap_samples_of_one_problem_are_not_independent() -> None:
    """30 problems of 10 samples; on a tenth of the problems the second verifier passes everything. Standard error 1.3%."""
    generator = np.random.default_rng(0)
    names = [f"{i:02d}" for i in range(30) for _ in range(10)]
    held = naive = 0
    for seed in range(300):
        lenient = generator.random(30) < 0.1
        first = generator.random((30, 10)) < 0.4
        sides = first.ravel().tolist(), (first | lenient[:, None]).ravel().tolist()
        by_problem = agreement(*sides, names, replicates=1000, seed=seed).disagreement
        held += by_problem.low <= 0.06 <= by_problem.high
        one_by_one = agreement(*sides, replicates=100).disagreement
        naive += one_by_one.low <= 0.06 <= one_by_one.high
    assert 0.91 <= held / 300 <= 0.985 and naive / 300 < 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([True], [True, False]), "first: lengths differ .1 first, 2 second."),
        (([], []), "first, second: no sample has a verdict"),
        (([None], [True]), "first, second: no sample has a verdict"),
        (([True], [True], ["a", "b"]), "first: lengths differ .1 first, 1 second, 2 problems."),
    ],
)
def test_agreement_refuses(arguments: tuple[list[bool | None], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        agreement(*arguments)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ false positives


def test_clopper_pearson_agrees_with_scipy() -> None:
    for m, n in ((0, 20), (1, 20), (7, 33), (20, 20)):
        got, exact = clopper_pearson(m, n), stats.binomtest(m, n).proportion_ci(method="exact")
        assert (got.low, got.high) == pytest.approx((exact.low, exact.high)) and got.value == m / n
    for bad in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match=r"^(hits|n): "):
            clopper_pearson(*bad)
    with pytest.raises(InputError, match="false: 3 false of audited=2"):
        false_share(3, 2)


def test_golden_one_wrong_pass_in_a_thousand() -> None:
    """1 - (1 - .001)^1024 = .641: what a 0.1% false-positive rate alone gives a problem that is never solved."""
    got = false_pass(0.001, [1, 64, 1024])
    assert got[1024].value == pytest.approx(0.641, abs=5e-4) and got[1].value == pytest.approx(0.001)
    assert false_pass(clopper_pearson(1, 1000), [1024])[1024].high > 0.99  # one in a thousand seen is up to .0056
    assert false_pass(1.0, [2])[2].value == 1 and false_pass(0.0, [2])[2].value == 0


def test_false_positive_rate_from_an_audit() -> None:
    """x = .2 positives, a tenth of them wrong: f = .1 * .2 / (1 - .2 * .9) = .02 / .82."""
    got = false_positive_rate(false_share(10, 100), counts([20, 20], 100))
    assert got.value == pytest.approx(0.02 / 0.82) and got.low < got.value < got.high
    assert false_positive_rate(false_share(100, 100), counts([20], 100)).value == pytest.approx(0.2)
    assert math.isnan(false_positive_rate(false_share(0, 100), counts([10], 10)).value)
    with pytest.raises(InputError, match="n: the counts hold no"):
        false_positive_rate(false_share(0, 100), counts([0], 0))


def test_an_unknown_false_positive_rate_is_passed_on() -> None:
    """Every sample positive, none of the audited ones false: the rate is NaN, and so is what hangs on it, for the same reason."""
    rate = false_positive_rate(false_share(0, 100), counts([10, 10], 10))
    assert all(math.isnan(x) for x in (rate.value, rate.low, rate.high)) and "no wrong sample is known" in rate.reason
    alone, left = false_pass(rate, [1, 8]), corrected_curve(counts([10, 10], 10), rate, [1, 8, 16])
    for got in (alone[1], alone[8], left[1], left[8]):
        assert math.isnan(got.value) and math.isnan(got.high) and got.reason == rate.reason
    assert "n >= 16" in left[16].reason and "rate of unknown" in left[1].method
    assert false_positive_rate(false_share(3, 100), counts([10], 10)).value == 1  # all wrong samples pass


def test_correction_is_unbiased() -> None:
    """Enumeration over the binomial: the mean of the corrected estimate is 1 - (1 - p)^k exactly."""
    p, f, n, k = 0.05, 0.01, 40, 16
    c = np.arange(n + 1)
    weight = stats.binom.pmf(c, n, p + (1 - p) * f)
    from offleash.boundary import pass_at_k

    corrected = 1 - (1 - pass_at_k(c, n, k)) / (1 - f) ** k
    assert weight @ corrected == pytest.approx(1 - (1 - p) ** k, abs=1e-12)
    one = corrected_curve(counts([3, 9, 0, 40], 40), f, [k])[k]
    plain = curve(counts([3, 9, 0, 40], 40), [k])[k]
    assert one.value == pytest.approx(1 - (1 - plain.value) / (1 - f) ** k)
    assert corrected_curve(counts([3, 9], 40), 0.0, [8])[8].value == pytest.approx(
        curve(counts([3, 9], 40), [8])[8].value
    )


@pytest.mark.slow
def test_corrected_interval_covers_with_the_rate_audited() -> None:
    """Both sources: 100 problems, and an audit of 400 wrong samples. Standard error of 300 sets: 1.3%."""
    generator = np.random.default_rng(3)
    f, n, k = 0.01, 64, 32
    held = plain = 0
    for seed in range(300):
        p = generator.choice([0.0, 0.05, 0.3], 100, p=[0.5, 0.3, 0.2])
        data = counts(generator.binomial(n, p + (1 - p) * f), n)
        truth = 1 - np.array([1, 0.95**k, 0.7**k]) @ [0.5, 0.3, 0.2]
        got = corrected_curve(
            data, clopper_pearson(int(generator.binomial(400, f)), 400), [k], replicates=1000, seed=seed
        )[k]
        held += got.low <= truth <= got.high
        raw = curve(data, [k], replicates=1000, seed=seed)[k]
        plain += raw.low <= truth <= raw.high
    assert 0.93 <= held / 300 <= 1.0 and plain / 300 < 0.5


def test_a_corrected_curve_does_not_fall() -> None:
    """40 problems, some never solved: a rate that is too high for those takes them below unsolved, once .68, .74, .72, .5."""
    generator = np.random.default_rng(0)
    data = counts(generator.binomial(64, generator.choice([0, 0.05, 0.5, 0.9], 40)), 64)
    for f in (0.001, 0.003, 0.02, 0.08, 0.2):
        got = corrected_curve(data, f, replicates=500)
        known = [e.value for e in got.values() if not math.isnan(e.value)]
        assert known and (np.diff(known) >= 0).all(), f
        assert all(e.low <= e.value <= e.high for e in got.values() if e.reason == "")
        undefined = [math.isnan(e.value) for e in got.values()]
        assert undefined == sorted(undefined) and undefined[-1] == (f > 0.003)  # once lost, lost for all larger k
        assert all(e.reason for e in got.values() if math.isnan(e.value))
    falls = corrected_curve(data, 0.08, [1, 16], replicates=500)
    assert "the correction falls from 0.453 at k=4 to 0.338 at k=8, which pass@k cannot" in falls[16].reason
    assert falls[1].value == pytest.approx(corrected_curve(data, 0.08, [1], replicates=500)[1].value)


def test_a_small_fall_is_pooled() -> None:
    """By hand: two values that fall by less than the margin become their mean, weighted by their intervals."""
    from offleash.boundary.audit import _rising

    raw = {
        k: Estimate(v, v - w, v + w, 9, "") for k, v, w in ((1, 0.3, 0.1), (2, 0.51, 0.1), (4, 0.5, 0.2), (8, 0.6, 0.1))
    }
    got = _rising(raw, 0.01)
    assert [got[k].value for k in got] == pytest.approx([0.3, 0.508, 0.508, 0.6])
    assert (got[4].low, got[4].high) == pytest.approx((0.3, 0.7))


def test_nothing_is_left_to_correct() -> None:
    got = corrected_curve(counts([3, 1], 1024), 0.01, [1, 1024])
    assert math.isnan(got[1024].value) and "alone gives pass@1024 of 1.000" in got[1024].reason and got[1].value >= 0
    assert "n >= 8" in corrected_curve(counts([3, 1], [9, 4]), 0.001, [8])[8].reason
    for bad in (1.5, -0.1, Estimate(math.nan, 0.0, 1.0, 1, "")):
        with pytest.raises(InputError, match=r"rate: .* is no chance"):
            corrected_curve(counts([3], 9), bad)


# ---------------------------------------------------------------------------------------------------------- guesses


def test_beyond_chance_is_cohens_form() -> None:
    data, guess = counts([0, 4, 16, 9], 16), [0.0, 0.02, 0.1, 0.3]
    got = chance_corrected(data, guess, [1, 4])
    plain, chance = curve(data, [1, 4]), chance_curve(guess, [1, 4])
    for k in (1, 4):
        assert got[k].value == pytest.approx((plain[k].value - chance[k].value) / (1 - chance[k].value))
        assert got[k].low < got[k].value < got[k].high <= 1
    assert chance_corrected(data, [0.0] * 4, [4])[4].value == pytest.approx(plain[4].value)


def test_blind_guessing_is_zero_and_covered() -> None:
    """A model that guesses has value 0 at every k; 95% intervals hold 0. Standard error of 300 sets: 1.3%."""
    generator = np.random.default_rng(1)
    values, held = [], 0
    for seed in range(300):
        g = generator.choice([0.01, 0.05, 0.2], 60)
        got = chance_corrected(counts(generator.binomial(32, g), 32), g, [8], replicates=1000, seed=seed)[8]
        values.append(got.value)
        held += got.low <= 0 <= got.high
    assert np.mean(values) == pytest.approx(0, abs=0.02) and 0.92 <= held / 300 <= 0.985


def test_ability_is_recovered_beyond_guesses() -> None:
    generator = np.random.default_rng(2)
    g, p = np.full(4000, 0.05), generator.choice([0.0, 0.2], 4000)
    data = counts(generator.binomial(16, p + (1 - p) * g), 16)
    assert chance_corrected(data, g, [8], replicates=200)[8].value == pytest.approx((1 - 0.8**8) / 2, abs=0.02)


def test_where_guessing_suffices_nothing_is_measured() -> None:
    got = chance_corrected(counts([30, 200], 256), [0.2, 0.3], [1, 256])
    assert math.isnan(got[256].value) and "blind guessing alone reaches pass@256 of 1.000" in got[256].reason
    assert "unknown for 1 of 2" in chance_corrected(counts([3, 2], 8), [0.2, math.nan], [2])[2].reason
    assert "n >= 9" in chance_corrected(counts([3, 2], 8), [0.2, 0.1], [9])[9].reason


def test_guess_report() -> None:
    """64 samples at a chance of 1%: 1 success is expected in half of the problems, 12 in none."""
    data = counts([0, 1, 2, 12, 64, 5], 64)
    got = guess_report(data, [0.01, 0.01, 0.01, 0.01, 0.3, 0.0])
    assert [p.id for p in got.suspects] == ["p0001", "p0002"] and got.solved == 5 and got.beyond == 3
    assert got.problems[0].expected == pytest.approx(0.64) and got.problems[0].p == pytest.approx(1 - 0.99**64)
    assert got.expected == pytest.approx(4 * (1 - 0.99**64) + 1, abs=1e-6)  # the last cannot be guessed at all
    few = guess_report(data, [0.01, 0.01, 0.01, 0.01, 0.3, 0.0], most=1)
    assert [p.id for p in few.suspects] == ["p0001"]
    unknown = guess_report(data, [math.nan] * 5 + [0.0])
    assert unknown.unknown == 5 and unknown.solved == 1
    document = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert document["suspects"][0]["id"] == "p0001"


def test_guessers_are_rarely_called_able() -> None:
    """False discoveries of 60 blind problems: in at most 5% of sets. Standard error of 400 sets: 1.1%."""
    generator = np.random.default_rng(4)
    found = 0
    for _ in range(400):
        g = generator.choice([0.002, 0.01, 0.05], 60)
        found += guess_report(counts(generator.binomial(64, g), 64), g).beyond > 0
    assert found / 400 <= 0.05 + 2 * 0.011


@pytest.mark.parametrize(
    ("guess", "kwargs", "message"),
    [
        ([0.1], {}, "guess: shape .1,. for 2 problems; give one chance for each"),
        ([0.1, 1.5], {}, "guess: problem 'p0001' has a chance of 1.5"),
        ([0.1, 0.2], {"fdr": 0.0}, "fdr: 0.0 is no rate"),
    ],
)
def test_guess_report_refuses(guess: list[float], kwargs: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        guess_report(counts([1, 2], 8), guess, **kwargs)  # type: ignore[arg-type]

"""Two verifiers judge the same samples of a store, without sampling twice."""

from pathlib import Path

from offleash import tasks
from offleash.core import Completion
from offleash.sampling.fill import fill
from offleash.store import Store, open_or_create

DATA = Path(__file__).parents[2] / "data" / "math500"


class Scripted:
    """Gives every problem the same three answers."""

    answers = (r"\boxed{\frac{14}{3}}", r"\boxed{4.666666666666667}", "no idea")
    calls = 0

    def generate(self, requests, tell=None):
        self.calls += 1
        return [
            Completion(r.problem_id, r.index, self.answers[r.index], (1,), (0.0,), (0.0,), "stop") for r in requests
        ]


def test_the_numeric_verifier_adds_its_verdicts(tmp_path):
    store, sampler = open_or_create(tmp_path / "store"), Scripted()
    first, second = tasks.get(f"math-500:{DATA}"), tasks.get(f"math-500/numeric:{DATA}")
    problems = first.listed(1, "test", 0) + first.listed(3, "test", 0)
    about = {
        "model": {"id": "m", "label": "scripted"},
        "n": 3,
        "settings": {"engine": "scripted"},
        "seed": 0,
        "batch": 8,
    }
    filled = fill(store, sampler, first, problems, **about)
    assert (filled.sampled, filled.verified) == (3 * len(problems), 3 * len(problems))
    calls = sampler.calls
    filled = fill(Store.open(tmp_path / "store"), sampler, second, problems, **about)
    assert (filled.sampled, filled.verified) == (0, 3 * len(problems)) and sampler.calls == calls

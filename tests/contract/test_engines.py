"""The contract of every engine: each row of the registry passes the checks that its claims call for.

A row that cannot run here is skipped with its reason. The `openai` row runs against a real HTTP server on loopback.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from offleash import nn, tasks
from offleash.core import InputError, rng
from offleash.engines import ENGINES, Request, Sampler, SamplingSettings, get, open_engine
from offleash.sampling.fill import fill
from offleash.store import open_or_create

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "engines" / "loopback.py")
assert _spec and _spec.loader
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)

PROMPTS = ["1 2 3=7:", "10 12 13 25 4=999:", "5=5:", "7 7 7 7=28:", "24 3 1=22:"]
MODELS = ("base", "tiny")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The embedded base, a tiny random model, and one whose tokenizer puts nothing in front of a text."""
    place = tmp_path_factory.mktemp("models")
    model, tokenizer = nn.build(nn.TinyModel(num_hidden_layers=2, hidden_size=32, num_attention_heads=2), seed=5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # wide enough that the likeliest token is a clear one
                parameter.mul_(15)
    nn.save(model, tokenizer, place / "tiny")
    tokenizer.backend_tokenizer.post_processor = None
    nn.save(model, tokenizer, place / "bare")
    return {"base": "base", "tiny": str(place / "tiny"), "bare": str(place / "bare")}


@pytest.fixture(scope="module")
def servers(folders: dict[str, str]) -> Iterator[dict[str, Any]]:
    found = {
        name: loopback.Loopback(*nn.load(folder), gives=("token_ids", "logprobs")) for name, folder in folders.items()
    }
    for server in found.values():
        server.__enter__()
    yield found
    for server in found.values():
        server.__exit__(None, None, None)


@pytest.fixture(params=ENGINES)
def name(request: pytest.FixtureRequest) -> str:
    if missing := ENGINES[request.param].missing():
        pytest.skip(missing)
    return str(request.param)


@pytest.fixture
def make(name: str, folders: dict[str, str], servers: dict[str, Any]) -> Any:
    """(model, sampling settings) -> the engine of this row."""

    def opened(model: str, *settings: Any, **options: Any) -> Sampler:
        if name == "openai":
            options = {"endpoints": (servers[model].url,)}
        return open_engine(name, folders[model], SamplingSettings(*settings), **options).sampler

    return opened


def requests(n: int, prompts: list[str] = PROMPTS) -> list[Request]:
    return [Request(f"id of {p}", p, i, rng.key64("sample", 0, p, i)) for p in prompts for i in range(n)]


def exact(folder: str, prompt: str, temperature: float) -> np.ndarray:
    """The distribution of the first token."""
    model, tokenizer = nn.load(folder)
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
    return (logits / temperature).double().softmax(-1).numpy()


def test_one_completion_for_each_request_in_order(make: Any) -> None:
    asked = requests(3)
    asked = asked[::2] + asked[1::2]
    told: list[int] = []
    found = make("base", 1.0, 12).generate(asked, told.append)
    assert [(c.problem_id, c.index) for c in found] == [(r.problem_id, r.index) for r in asked]
    assert sum(told) == len(asked)
    for c in found:
        assert len(c.token_ids) == len(c.logprobs) == len(c.entropies) <= 12


@pytest.mark.parametrize("model", MODELS)
def test_greedy_is_that_of_hugging_face(make: Any, folders: dict[str, str], model: str) -> None:
    weights, tokenizer = nn.load(folders[model])
    for c, prompt in zip(make(model, 0.0, 16).generate(requests(1)), PROMPTS, strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        out = weights.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
        )  # fmt: skip
        assert list(c.token_ids) == out[0, ids.shape[1] :].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_logprobs_and_entropies_are_those_of_a_teacher_forced_forward(
    make: Any, name: str, folders: dict[str, str], temperature: float
) -> None:
    row = get(name)
    model, tokenizer = nn.load(folders["base"])
    for c, r in zip(make("base", temperature, 12).generate(requests(4)), requests(4), strict=True):
        with torch.no_grad():
            logp, entropy = nn.score(model, nn.pad([tokenizer(r.prompt)["input_ids"]], [c.token_ids], 0), temperature)
        if row.logprobs == "always" or temperature == 1.0:
            np.testing.assert_allclose(c.logprobs, logp[0].numpy(), atol=3e-5)
        else:  # this server's are at temperature 1: not what the tokens were drawn with
            assert all(map(math.isnan, c.logprobs))
        if row.entropies:
            np.testing.assert_allclose(c.entropies, entropy[0].numpy(), atol=3e-5)
        else:
            assert all(map(math.isnan, c.entropies))


def test_a_request_is_answered_the_same_alone_and_in_any_batch(make: Any, name: str) -> None:
    if not get(name).reproducible:
        pytest.skip(f"{name} does not claim it")
    asked = requests(5)
    together = make("base", 1.0, 16).generate(asked)
    for engine, order in ((make("base", 1.0, 16, rows=3), asked[::-1]), (make("base", 1.0, 16), asked[7:9])):
        found = {(c.problem_id, c.index): c.token_ids for c in engine.generate(order)}
        assert found.items() <= {(c.problem_id, c.index): c.token_ids for c in together}.items()
    assert len({c.token_ids for c in together}) > len(PROMPTS)


def test_engines_that_promise_the_same_tokens_agree(folders: dict[str, str]) -> None:
    promised = [row.name for row in ENGINES.values() if row.reproducible]
    found = [open_engine(n, "base", SamplingSettings(1.0, 16)).sampler.generate(requests(4)) for n in promised]
    assert len(promised) > 1
    for other in found[1:]:
        assert [(c.token_ids, c.text, c.finish_reason) for c in other] == [
            (c.token_ids, c.text, c.finish_reason) for c in found[0]
        ]


@pytest.mark.slow
def test_first_tokens_follow_the_exact_distribution(make: Any, name: str, folders: dict[str, str]) -> None:
    n = 500 if get(name).reads == "server" else 5000
    drawn = [c.token_ids[0] for c in make("tiny", 2.0, 1).generate(requests(n, PROMPTS[1:2]))]
    wanted = exact(folders["tiny"], PROMPTS[1], 2.0) * n
    counts = np.bincount(drawn, minlength=len(wanted))
    order = np.argsort(wanted)
    rare = int((wanted[order].cumsum() < 5).sum()) + 1  # those that expect few draws are one cell
    observed, expected = (np.append(x[order[rare:]], x[order[:rare]].sum()) for x in (counts, wanted))
    assert len(expected) >= 6
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.slow
def test_end_tokens_and_lengths_end_a_completion(make: Any) -> None:
    tokenizer = nn.load("base")[1]
    found = make("base", 1.5, 9).generate(requests(8))
    assert {c.finish_reason for c in found} == {"stop", "length"}
    for c in found:
        ended = c.token_ids[-1] == tokenizer.eos_token_id
        assert ended == (c.finish_reason == "stop") and (ended or len(c.token_ids) == 9)
        assert tokenizer.eos_token not in c.text
        assert tokenizer(c.text, add_special_tokens=False)["input_ids"] == list(c.token_ids[: len(c.token_ids) - ended])


@pytest.mark.slow
def test_stop_strings_end_a_completion_and_are_not_in_its_text(make: Any) -> None:
    tokenizer = nn.load("base")[1]
    free = make("base", 1.0, 20).generate(requests(4))
    stopped = make("base", 1.0, 20, ("+", "*2")).generate(requests(4))
    ended = [c for c in stopped if c.finish_reason == "stop" and c.token_ids[-1] != tokenizer.eos_token_id]
    assert len(ended) > 3
    for a, c in zip(free, stopped, strict=True):
        assert "+" not in c.text and "*2" not in c.text
        assert a.text.startswith(c.text)
        assert a.token_ids[: len(c.token_ids)] == c.token_ids
    for c in ended:
        assert tokenizer.decode(list(c.token_ids)).startswith((c.text + "+", c.text + "*2"))


def test_no_requests(make: Any) -> None:
    assert make("base", 1.0, 8).generate([]) == []


def test_prompts_that_cannot_be_continued_are_refused(make: Any) -> None:
    with pytest.raises(InputError, match="prompt: empty"):
        make("bare", 1.0, 8).generate(requests(1, [""]))
    with pytest.raises(InputError, match=r"302 tokens \+ max_completion_length 8|301 tokens"):
        make("base", 1.0, 8).generate(requests(1, ["1" * 301]))


def test_settings_are_json_and_tell_what_changes_samples(make: Any) -> None:
    said = make("base", 0.7, 8, ("x",)).settings()
    assert json.loads(json.dumps(said)) == said == make("base", 0.7, 8, ("x",)).settings()
    for other in ((0.8, 8, ("x",)), (0.7, 9, ("x",)), (0.7, 8)):
        assert make("base", *other).settings() != said
    assert isinstance(make("base", 1.0, 8), Sampler)


def test_what_an_engine_draws_fills_a_store(make: Any, tmp_path: Path) -> None:
    task = tasks.get("countdown")
    problems = [p for p, _ in zip(tasks.problems(task, 4, "test", 0), range(3), strict=False)]
    engine = make("base", 0.8, 24)
    store = open_or_create(tmp_path / "store")
    about = {"id": "m", "label": "base"}
    settings = engine.settings()
    for n in (2, 4):  # the second call asks for what is missing
        done = fill(store, engine, task, problems, model=about, n=n, settings=settings, seed=0, batch=5)
        assert done.sampled == 6
    assert [row.n for row in store.counts("m")] == [4, 4, 4]
    table = store.rows("m").to_pylist()
    assert all(row["length"] > 0 for row in table)
    assert {math.isnan(row["entropy"]) for row in table} == {not get(settings["engine"]).entropies}

"""The openai engine against real HTTP servers on loopback that refuse, stall, break and come back."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offleash import nn
from offleash.core import InputError, OffleashError, rng
from offleash.engines import Refused, Request, SamplingSettings, Unfinished, endpoints
from offleash.engines.endpoints import Patience
from offleash.engines.openai import OpenAIEngine, Server

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
assert _spec and _spec.loader
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)

PROMPTS = ["1 2 3=7:", "10 12 13 25 4=999:", "5=5:"]
QUICK = Patience(concurrency=4, timeout=5.0, attempts=4, patience=20.0)


@pytest.fixture(scope="module")
def model() -> Any:
    return nn.load("base")


@pytest.fixture
def server(model: Any) -> Iterator[Any]:
    with loopback.Loopback(*model) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_REST", 0.02)


def requests(n: int, prompts: list[str] = PROMPTS) -> list[Request]:
    return [Request(p, p, i, rng.key64("sample", 0, p, i)) for p in prompts for i in range(n)]


def engine(*urls: str, temperature: float = 1.0, stop: tuple[str, ...] = (), **options: Any) -> OpenAIEngine:
    options = {"patience": QUICK, **options}
    return OpenAIEngine(Server("base", urls, **options), SamplingSettings(temperature, 16, stop))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.parametrize("fault", [429, (429, 0.1), 500, (503, 0.05), "garbage", "nothing", "reset"])
def test_a_fault_that_passes_is_waited_out(server: Any, fault: Any) -> None:
    wanted = engine(server.url).generate(requests(2))
    server.faults.extend([fault, fault, None, fault])
    assert repr(engine(server.url).generate(requests(2))) == repr(wanted)
    assert not server.faults


def test_a_request_that_stalls_is_sent_again_with_its_seed(server: Any) -> None:
    server.faults.append("slow")
    patience = Patience(concurrency=1, timeout=0.4, attempts=3)
    assert len(engine(server.url, patience=patience).generate(requests(1, PROMPTS[:1]))) == 1
    assert len(server.bodies) == 2 and server.bodies[0] == server.bodies[1]


def test_retry_after_is_kept(server: Any) -> None:
    server.faults.append((429, 0.6))
    engine(server.url, patience=Patience(concurrency=1)).generate(requests(1, PROMPTS[:1]))
    assert server.times[1] - server.times[0] >= 0.6


def test_each_request_has_its_own_seed_and_asks_for_the_whole_distribution(server: Any) -> None:
    engine(server.url, stop=("+",), body={"top_k": -1}).generate(requests(2))
    by_seed = {body["seed"]: body for body in server.bodies}
    assert set(by_seed) == {r.key % 2**53 for r in requests(2)}
    for body in server.bodies:
        assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (1.0, 1.0, -1, 16)
        assert body["stop"] == ["+"] and body["logprobs"] == 1


def test_many_endpoints_share_the_work_within_their_concurrency(model: Any) -> None:
    with loopback.Loopback(*model) as a, loopback.Loopback(*model) as b:
        told: list[int] = []
        found = engine(a.url, b.url, patience=Patience(concurrency=3)).generate(requests(12), told.append)
        assert len(found) == sum(told) == 36 == len(a.bodies) + len(b.bodies)
        assert min(len(a.bodies), len(b.bodies)) > 5 and max(a.most, b.most) <= 3


def test_a_dead_endpoint_is_left_to_the_others(server: Any) -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    assert len(engine(dead, server.url).generate(requests(12))) == 36


@pytest.mark.slow
def test_endpoints_that_stay_dead_end_the_run_in_one_line_with_what_is_finished(model: Any) -> None:
    with loopback.Loopback(*model) as server:
        server.faults.extend([None] * 5 + [503] * 1000)
        patience = Patience(concurrency=2, attempts=3, patience=1.0)
        with pytest.raises(
            Unfinished, match=r"endpoint http://127.*answered 503 \(an injected fault of two lines\)"
        ) as e:
            engine(server.url, patience=patience).generate(requests(4))
    assert "\n" not in str(e.value) and not isinstance(e.value, InputError)
    assert len(e.value.finished) == 5
    wanted = {(r.problem_id, r.index) for r in requests(4)}
    assert {(c.problem_id, c.index) for c in e.value.finished} < wanted


def test_being_told_to_wait_is_no_failure_of_a_request_but_patience_ends(server: Any) -> None:
    server.faults.extend([429] * 4)
    assert len(engine(server.url, patience=Patience(concurrency=1, attempts=1)).generate(requests(1))) == 3
    server.faults.extend([429] * 1000)
    with pytest.raises(Unfinished, match="every endpoint has only failed for"):
        engine(server.url, patience=Patience(concurrency=1, attempts=2, patience=0.3)).generate(requests(1))


def test_nobody_there_says_so() -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(
        OffleashError, match=f"endpoint {dead}/completions: cannot be reached .*see whether the server runs"
    ):
        engine(dead).generate(requests(1))


def test_endpoints_of_which_none_answers_are_refused_before_anything_is_sampled(server: Any) -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(InputError, match=rf"endpoint {dead}/models: .*; start the server, or correct --endpoint"):
        engine(dead).check(PROMPTS)
    engine(dead, server.url).check(PROMPTS)
    with pytest.raises(InputError, match="prompt: empty"):
        engine(server.url).check(["1", ""])


def test_what_no_attempt_mends_stops_at_once(server: Any) -> None:
    server.faults.extend([None, None, 404])
    with pytest.raises(Refused, match=r"refused a request: 404 \(an injected fault.*knows the model's name") as e:
        engine(server.url, patience=Patience(concurrency=1)).generate(requests(2))
    assert isinstance(e.value, InputError) and len(e.value.finished) == 2 and len(server.bodies) == 3
    with pytest.raises(InputError, match=r"400 \(prompt: 302 tokens|400 \(prompt: 301 tokens"):
        engine(server.url).generate(requests(1, ["1" * 300]))


def test_the_key_comes_from_the_environment_and_is_never_told(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback.Loopback(*model, key="s3cret") as server:
        with pytest.raises(InputError, match=r"401 \(wrong key\); put the key into the environment variable"):
            engine(server.url).generate(requests(1))
        monkeypatch.setenv("MY_KEY", "s3cret")
        mine = engine(server.url, api_key_env="MY_KEY")
        assert len(mine.generate(requests(1))) == 3
        assert "s3cret" not in json.dumps(mine.settings()) + repr(mine.server)


def test_chat(server: Any) -> None:
    found = engine(server.url, api="chat").generate(requests(1))
    assert {body["messages"][0]["content"] for body in server.bodies} == set(PROMPTS)
    assert repr(found) == repr(engine(server.url).generate(requests(1)))


@pytest.mark.parametrize("gives", [("usage",), ("logprobs",), ("token_ids", "logprobs", "usage")])
def test_what_a_server_does_not_give_is_missing_not_zero(model: Any, gives: tuple[str, ...]) -> None:
    with loopback.Loopback(*model, gives=gives) as server:
        found = engine(server.url).generate(requests(2))
    for c in found:
        assert 0 < len(c.token_ids) == len(c.logprobs) == len(c.entropies)
        assert all(map(math.isnan, c.entropies))
        assert all(map(math.isnan, c.logprobs)) == ("logprobs" not in gives)
        assert (set(c.token_ids) == {-1}) == ("token_ids" not in gives)


def test_tokens_that_cannot_be_counted_are_refused(model: Any) -> None:
    with loopback.Loopback(*model, gives=()) as server, pytest.raises(InputError, match="have it send `usage`"):
        engine(server.url).generate(requests(1))


def test_log_probs_are_kept_where_they_are_of_the_distribution_sampled_from(server: Any) -> None:
    for temperature, kind, missing in (
        (0.7, "raw", True),
        (0.7, "sampling", False),
        (0.0, "raw", False),
        (1.0, "off", True),
    ):
        found = engine(server.url, temperature=temperature, logprobs=kind).generate(requests(1))
        assert {math.isnan(x) for c in found for x in c.logprobs} == {missing}


def test_it_runs_where_an_event_loop_runs_already(server: Any) -> None:
    import asyncio

    async def notebook() -> int:
        return len(engine(server.url).generate(requests(1)))

    assert asyncio.run(notebook()) == 3


def test_a_fault_of_ours_does_not_hang(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAIEngine, "_completion", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine(server.url).generate(requests(1))


def test_bad_settings_are_named() -> None:
    for options, message in (
        ({"endpoints": ()}, "endpoint: none given"),
        ({"endpoints": ("localhost:8000",)}, "is not an address"),
        ({"endpoints": ("http://me:secret@a/v1",)}, "endpoint: an address with a password"),
        ({"endpoints": ("http://a",), "api": "responses"}, "api: 'responses' is none of completions, chat"),
        ({"endpoints": ("http://a",), "body": {"seed": 1}}, "body: 'seed' is set by the engine"),
    ):
        with pytest.raises(InputError, match=message):
            Server("m", **options)
    with pytest.raises(InputError, match="concurrency, attempts: 0"):
        Patience(concurrency=0)
    with pytest.raises(InputError, match="prompt: empty"):
        engine("http://a").generate(requests(1, [""]))
    with pytest.raises(InputError, match="stop: one of the strings is empty"):
        SamplingSettings(1.0, 4, ("",))


@pytest.mark.slow
def test_transformers_serve(tmp_path: Path) -> None:
    """A server that is not ours: greedy texts are those of the hf engine, and sampled ones follow the seed."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason=f"transformers serve needs {package}")
    folder, port = str(nn.model_folder("base")), free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--host", "127.0.0.1"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        # It samples only when told so, and then from its own default of 50 tokens.
        sampled = json.dumps({"do_sample": True, "top_k": 0, "eos_token_id": 2, "pad_token_id": 0})
        for temperature, body in ((0.0, {}), (1.0, {"generation_config": sampled})):
            server = Server(folder, (f"http://127.0.0.1:{port}/v1",), body=body, patience=Patience(concurrency=1))
            mine = OpenAIEngine(server, SamplingSettings(temperature, 16))
            found = mine.generate(requests(3))
            assert [c.text for c in found] == [c.text for c in mine.generate(requests(3))]
            assert all(len(c.token_ids) >= len(c.text) and c.token_ids[0] == -1 for c in found)
            if temperature == 0:
                from offleash.engines.hf import HfEngine

                own = HfEngine(*nn.load("base"), SamplingSettings(0.0, 16)).generate(requests(3))
                assert [c.text for c in found] == [c.text for c in own]
            else:
                assert len({c.text for c in found}) > 3
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise AssertionError("the server does not come up")

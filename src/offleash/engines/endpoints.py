"""Many HTTP endpoints of one model, asked at once: bounded concurrency, retries, and what was answered when it had to stop.

Every endpoint has `concurrency` workers that take from one queue, so a faster endpoint takes more. A failed request goes back
to the queue, for any of them; the endpoint that failed it rests, each time twice as long (or as long as it asked for).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import httpx2

from offleash.core import InputError, OffleashError, rng

T = TypeVar("T")
FIRST_REST, LONGEST_REST = 0.5, 60.0
"""Seconds that an endpoint rests after its first failure, and at most."""
_RETRIED = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another attempt may mend."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with endpoints that fail."""

    concurrency: int = 16
    """Requests that each endpoint has at one time."""
    timeout: float = 600.0
    """Seconds without a byte after which a request has failed."""
    attempts: int = 8
    """Failures of one request after which the run stops; being told to wait (429) is none."""
    patience: float = 300.0
    """Seconds in which every endpoint has only failed, after which the run stops."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.attempts < 1:
            raise InputError(f"concurrency, attempts: {self.concurrency} and {self.attempts}; both must be at least 1")
        if not (self.timeout > 0 and self.patience >= 0):
            raise InputError(f"timeout, patience: {self.timeout} and {self.patience} seconds; give positive ones")


class Malformed(Exception):
    """An answer that is not what the protocol says; asking again may mend it."""


class Answers(NamedTuple, Generic[T]):
    """What was answered, None where nothing was, and why it is not all."""

    found: list[T | None]
    error: OffleashError | None


def ask(
    urls: Sequence[str],
    bodies: Sequence[Mapping[str, Any]],
    read: Callable[[int, Any], T],
    *,
    headers: Mapping[str, str],
    patience: Patience,
    tell: Callable[[int], None] | None = None,
) -> Answers[T]:
    """POST every body to one of the urls.

    Args:
        urls: where to; all serve the same.
        bodies: JSON documents.
        read: turns the JSON answer to body i into a result; `Malformed` where it cannot.
        headers: sent with each request.
        patience: see `Patience`.
        tell: called with 1 for each answer.
    """
    run = _Run(bodies, read, patience, tell)
    return _wait_for(run.all(urls, headers))


def require_one(urls: Sequence[str], seconds: float = 10.0) -> None:
    """Raise an InputError where nothing answers at any of the urls; what it answers does not matter."""
    reasons = []
    for url in urls:
        try:
            httpx2.get(url, timeout=seconds)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            reasons.append(f"{url}: {_line(str(error)) or type(error).__name__}")
        else:
            return
    raise InputError(f"endpoint {'; '.join(reasons)}; start the server, or correct --endpoint")


def _wait_for(coroutine: Any) -> Any:
    """The coroutine's result, also where a notebook already runs an event loop in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@dataclass
class _Endpoint:
    url: str
    failures: int = 0
    rest_from: float = 0.0
    rest_until: float = 0.0
    failing_from: float = math.inf
    """Since when it has only failed."""

    def rest(self, sent: float, asked: float | None) -> None:
        """Rest, longer after each failure in a row; failures of requests sent before it rested are one failure."""
        now = time.monotonic()
        if sent >= self.rest_from:
            self.failures += 1
            self.rest_from = now
            self.failing_from = min(self.failing_from, now)
        wait = min(FIRST_REST * 2 ** (self.failures - 1), LONGEST_REST) if asked is None else asked
        self.rest_until = max(self.rest_until, now + wait)

    def answered(self) -> None:
        self.failures, self.failing_from = 0, math.inf

    def remaining(self) -> float:
        return self.rest_until - time.monotonic()

    async def awake(self, worker: int) -> None:
        """Sleep while it rests; its workers come back one after the other, not all at once."""
        while (left := self.remaining()) > 0:
            spread = 0.5 * min(self.rest_until - self.rest_from, LONGEST_REST)
            await asyncio.sleep(left + spread * rng.fraction("jitter", self.url, worker, self.failures))


class _Failed(Exception):
    """A request that may be sent again. `wait`: seconds that the endpoint asked for."""

    def __init__(self, reason: str, wait: float | None = None, counts: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.counts = wait, counts


class _Run(Generic[T]):
    """The state of one `ask`."""

    def __init__(
        self,
        bodies: Sequence[Mapping[str, Any]],
        read: Callable[[int, Any], T],
        patience: Patience,
        tell: Callable[[int], None] | None,
    ) -> None:
        self.bodies, self.read, self.patience, self.tell = bodies, read, patience, tell
        self.found: list[T | None] = [None] * len(bodies)
        self.left = len(bodies)
        self.failures = [0] * len(bodies)

    async def all(self, urls: Sequence[str], headers: Mapping[str, str]) -> Answers[T]:
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.endpoints = [_Endpoint(url) for url in urls]
        self.end: asyncio.Future[OffleashError | None] = asyncio.get_running_loop().create_future()
        for i in range(len(self.bodies)):
            self.queue.put_nowait(i)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx2.Timeout(self.patience.timeout, connect=min(10.0, self.patience.timeout))
        async with httpx2.AsyncClient(headers=dict(headers), limits=limits, timeout=timeout) as client:
            workers = [
                asyncio.create_task(self._work(endpoint, client, k))
                for endpoint in self.endpoints
                for k in range(self.patience.concurrency)
            ]
            for worker in workers:
                worker.add_done_callback(self._died)
            try:
                error = await self.end
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return Answers(self.found, error)

    def _died(self, worker: asyncio.Task[None]) -> None:
        """A worker ends by being cancelled; any other end is a fault of ours and must not hang the run."""
        if not worker.cancelled() and (error := worker.exception()) and not self.end.done():
            self.end.set_exception(error)

    async def _work(self, endpoint: _Endpoint, client: httpx2.AsyncClient, number: int) -> None:
        while True:
            await endpoint.awake(number)
            i = await self.queue.get()
            if endpoint.remaining() > 0:  # it failed while this worker waited
                self.queue.put_nowait(i)
                continue
            sent = time.monotonic()
            try:
                result = self.read(i, await _post(client, endpoint.url, self.bodies[i]))
            except InputError as error:
                self._stop(error)
            except Malformed as error:
                self._failed(endpoint, i, sent, _Failed(f"gave an answer that cannot be used ({error})"))
            except _Failed as failure:
                self._failed(endpoint, i, sent, failure)
            else:
                self._answered(endpoint, i, result)

    def _answered(self, endpoint: _Endpoint, i: int, result: T) -> None:
        endpoint.answered()
        self.found[i] = result
        self.left -= 1
        if self.tell:
            self.tell(1)
        if not self.left:
            self._stop(None)

    def _failed(self, endpoint: _Endpoint, i: int, sent: float, failure: _Failed) -> None:
        endpoint.rest(sent, failure.wait)
        self.failures[i] += failure.counts
        silent = time.monotonic() - max(e.failing_from for e in self.endpoints)
        if self.failures[i] >= self.patience.attempts:
            self._give_up(endpoint, failure, f"{self.failures[i]} times for one request")
        elif silent > self.patience.patience:
            self._give_up(endpoint, failure, f"every endpoint has only failed for {silent:.0f} s")
        else:
            self.queue.put_nowait(i)

    def _give_up(self, endpoint: _Endpoint, failure: _Failed, often: str) -> None:
        mend = "see whether the server runs and whether a lower --concurrency helps; the same command goes on from here"
        self._stop(OffleashError(f"endpoint {endpoint.url}: {failure}; {often}; {mend}"))

    def _stop(self, error: OffleashError | None) -> None:
        if not self.end.done():
            self.end.set_result(error)


async def _post(client: httpx2.AsyncClient, url: str, body: Mapping[str, Any]) -> Any:
    """The JSON answer; `_Failed` where another attempt may succeed, InputError where it would not."""
    try:
        answer = await client.post(url, json=dict(body))
    except httpx2.TimeoutException as error:
        raise _Failed("does not answer in time") from error
    except httpx2.TransportError as error:
        raise _Failed(f"cannot be reached ({_line(str(error)) or type(error).__name__})") from error
    except httpx2.InvalidURL as error:
        raise InputError(f"endpoint {url}: is not an address ({error}); give one like http://host:8000/v1") from error
    status = answer.status_code
    if status >= 500 or status in _RETRIED:
        asked = _seconds(answer.headers.get("retry-after"))
        raise _Failed(f"answered {status} ({_message(answer)})", asked, counts=status != 429)
    if not answer.is_success:
        raise InputError(f"endpoint {url}: refused a request: {status} ({_message(answer)}); {_mend(status)}")
    try:
        return answer.json()
    except ValueError as error:
        raise Malformed("it is no JSON") from error


def _mend(status: int) -> str:
    if status in (401, 403):
        return "put the key into the environment variable that --api-key-env names"
    if status == 404 or 300 <= status < 400:
        return "see that the address ends like http://host:8000/v1 and that the server knows the model's name"
    return "change the setting that it names"


def _seconds(header: str | None) -> float | None:
    """A Retry-After in seconds, at most ten minutes; dates, which few servers send, are left to the usual rest."""
    try:
        return min(max(float(header or ""), 0.0), 600.0)
    except ValueError:
        return None


def _message(answer: httpx2.Response) -> str:
    """What the server says is wrong, in the shapes that servers use; else the beginning of its text."""
    try:
        said = answer.json()
    except ValueError:
        return _line(answer.text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    return _line(said if isinstance(said, str) else str(said))


def _line(text: str) -> str:
    """Foreign text as at most 200 printable characters of one line."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]

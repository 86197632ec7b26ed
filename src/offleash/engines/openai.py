"""The `openai` engine: any server with an OpenAI-compatible API (vLLM, SGLang, llama.cpp, `transformers serve`, a hosted one).

One request for each completion, with a seed from the completion's own key: what is missing can be asked for alone, later.
Whether the same seed gives the same completion is the server's to keep; with many requests at once most do not.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from offleash.core import Completion, InputError
from offleash.engines.base import UNKNOWN_TOKEN, Refused, Request, SamplingSettings, Unfinished, cut, require_text
from offleash.engines.endpoints import Malformed, Patience, ask, require_one

API_KEY = "OFFLEASH_API_KEY"
SEED_BITS = 53
"""Seeds are sent as JSON numbers, which many readers hold in a double."""
_PATHS = {"completions": "/completions", "chat": "/chat/completions"}
_OURS = frozenset({"model", "prompt", "messages", "max_tokens", "temperature", "seed", "stop", "stream", "n", "echo"})


@dataclass(frozen=True, slots=True)
class Server:
    """Where a model is served, and how it is asked."""

    model: str
    """Its name there."""
    endpoints: tuple[str, ...]
    """Addresses up to /v1; all must serve the same weights."""
    api: Literal["completions", "chat"] = "completions"
    """`completions` continues the prompt as it stands; `chat` sends it as a user's message into the server's chat template."""
    logprobs: Literal["off", "raw", "sampling"] = "raw"
    """What the server's log-probs are of: the model's own distribution (most servers), so they are kept where the temperature
    is 1 or 0 and are NaN elsewhere; or the distribution sampled from. Or do not ask for them."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """More fields for every request, such as {"top_k": -1}; part of the samples' identity."""
    patience: Patience = field(default_factory=Patience)
    api_key_env: str = API_KEY
    """Environment variable that holds the API key; without it none is sent."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise InputError("endpoint: none given; give an address such as http://localhost:8000/v1")
        for url in self.endpoints:
            if not url.startswith(("http://", "https://")):
                raise InputError(f"endpoint: {url!r} is not an address; give one such as http://localhost:8000/v1")
            if "@" in url:  # addresses are in error messages
                raise InputError("endpoint: an address with a password in it; put the key into an environment variable")
        for name, value, known in (("api", self.api, _PATHS), ("logprobs", self.logprobs, ("off", "raw", "sampling"))):
            if value not in known:
                raise InputError(f"{name}: {value!r} is none of {', '.join(known)}")
        if taken := sorted(_OURS & set(self.body)):
            raise InputError(f"body: {taken[0]!r} is set by the engine itself; leave it out")


class OpenAIEngine:
    """Samples from a server."""

    name = "openai"

    def __init__(self, server: Server, sampling: SamplingSettings) -> None:
        self.server, self.sampling = server, sampling

    def settings(self) -> dict[str, Any]:
        """What makes samples comparable: stored as the sampler's identity. Where the server stands does not matter."""
        return {
            "engine": self.name,
            "model": self.server.model,
            "api": self.server.api,
            "logprobs": self.server.logprobs,
            "body": dict(self.server.body),
            "temperature": self.sampling.temperature,
            "max_completion_length": self.sampling.max_completion_length,
            "stop": list(self.sampling.stop),
        }

    def check(self, prompts: Iterable[str]) -> None:
        """Refuse an empty prompt, and endpoints of which none answers; a prompt too long is the server's to refuse."""
        require_text(prompts)
        require_one([url.rstrip("/") + "/models" for url in self.server.endpoints])

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order.

        Raises:
            Refused: a request that no attempt would mend (an InputError); `finished` are the completions there are.
            Unfinished: the endpoints failed for too long; `finished` likewise.
        """
        require_text(r.prompt for r in requests)
        if not requests:
            return []
        key = os.environ.get(self.server.api_key_env)
        found, error = ask(
            [url.rstrip("/") + _PATHS[self.server.api] for url in self.server.endpoints],
            [self._body(r) for r in requests],
            lambda i, answer: self._completion(requests[i], answer),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            patience=self.server.patience,
            tell=on_finished,
        )
        finished = [completion for completion in found if completion is not None]
        if error is not None:
            kind = Refused if isinstance(error, InputError) else Unfinished
            raise kind(str(error), finished) from error
        return finished

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.server.model,
            "max_tokens": self.sampling.max_completion_length,
            "temperature": self.sampling.temperature,
            "top_p": 1.0,  # a server may have another default
            "seed": request.key & (2**SEED_BITS - 1),
        }
        chat = self.server.api == "chat"
        body |= {"messages": [{"role": "user", "content": request.prompt}]} if chat else {"prompt": request.prompt}
        if self.server.logprobs != "off":
            body["logprobs"] = True if chat else 1
        if self.sampling.stop:
            body["stop"] = list(self.sampling.stop)
        return {**body, **self.server.body}

    def _completion(self, request: Request, answer: Any) -> Completion:
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] if self.server.api == "chat" else choice["text"]
            reason = choice["finish_reason"]
            given = _logprobs(choice)
            ids = [int(token) for token in choice.get("token_ids") or ()]
            usage = (answer.get("usage") or {}).get("completion_tokens")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Malformed(f"{type(error).__name__}: {error}") from error
        if reason in (None, "abort", "error", "content_filter") or not isinstance(text or "", str):
            raise Malformed(f"finish_reason {reason!r}")
        length = len(ids) or len(given) or usage
        if length is None or (length == 0 and text):
            raise InputError(
                "endpoint: answers without token_ids, log-probs or usage, so tokens cannot be counted; have it send `usage`"
            )
        if length > self.sampling.max_completion_length:
            raise InputError(
                f"endpoint: sent {length} tokens where max_tokens was {self.sampling.max_completion_length}; it does not keep the "
                "limit, so its samples would not be what the store says they are"
            )
        # A log-prob above 0 is none, whatever the server meant by it.
        known = len(given) == length and self._of_the_sampled() and all(x <= 1e-3 for x in given)
        text, stopped = cut(text or "", self.sampling.stop)
        return Completion(
            problem_id=request.problem_id,
            index=request.index,
            text=text,
            token_ids=tuple(ids) or (UNKNOWN_TOKEN,) * length,
            logprobs=tuple(given) if known else (math.nan,) * length,
            entropies=(math.nan,) * length,
            finish_reason="length" if reason == "length" and not stopped else "stop",
        )

    def _of_the_sampled(self) -> bool:
        """Whether the server's log-probs are at the sampling temperature (at temperature 0: at 1)."""
        return self.server.logprobs == "sampling" or self.sampling.temperature in (0, 1)


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    """The log-probs of the chosen tokens, in either API's shape; empty where there are none."""
    given = choice.get("logprobs") or {}
    content = given.get("content")
    found = given.get("token_logprobs") if content is None else [token["logprob"] for token in content]
    return [math.nan if x is None else float(x) for x in found or ()]

"""The `server` engine of training: an inference server (vLLM, SGLang) that reads weights from a folder when it is told to.

Unlike the `openai` engine it speaks in token ids both ways: the prompt is sent as the trainer's own ids, and an answer without
the ids and log-probs of what was sampled is refused, since encoding a text again may give other tokens.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from offleash.core import Completion, InputError, OffleashError
from offleash.engines.base import UNKNOWN_TOKEN, Request, SamplingSettings, Unfinished, cut, prompt_ids
from offleash.engines.endpoints import Malformed, Patience
from offleash.engines.hf import decoded
from offleash.engines.native.limits import context_length, require_vocabulary, tokenize
from offleash.engines.openai import API_KEY, OpenAIEngine, Server

FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds before a server that did not answer is asked again: at first, and at most."""
LOADING = 900.0
"""Seconds that loading weights may take."""
NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""What a server may otherwise take from the model's generation config: it would change the distribution."""
AWAY = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses of a server that is starting, busy or behind a proxy."""


@dataclass(frozen=True)
class Kind:
    """How one kind of server is told to read weights from a folder, and to forget what it computed with the old ones."""

    load: str
    body: Callable[[str], dict[str, Any]]
    flush: str
    missing: str
    """What to say where there is no such address."""
    extra: Mapping[str, Any]
    """Fields of every completion request that this kind alone knows."""


KINDS = {
    # vLLM: entrypoints/serve/dev (rpc, cache); reload_weights has had weights_path since layerwise reloading (vllm pull 32133).
    "vllm": Kind(
        load="/collective_rpc",
        body=lambda folder: {
            "method": "reload_weights",
            "kwargs": {"weights_path": folder, "is_checkpoint_format": True},
        },
        flush="/reset_prefix_cache",
        missing="start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment, on a network that you trust",
        extra={},
    ),
    # SGLang: entrypoints/http_server.py. return_token_ids on /v1/completions since sglang pull 30917.
    "sglang": Kind(
        load="/update_weights_from_disk",
        body=lambda folder: {"model_path": folder},
        flush="/flush_cache",
        missing="this SGLang cannot load weights from a folder; update it",
        extra={"no_stop_trim": True},
    ),
}


class Model(NamedTuple):
    """What a server says that it serves."""

    name: str
    context: int | None
    """Tokens of a prompt and its completion together, where it says so."""


class Control:
    """Asks a server what it serves, and tells it to read weights.

    Args:
        url: of the server, without /v1.
        kind: of `KINDS`.
        patience: seconds to wait for one that does not answer.
        tell: hears of each wait, in words.
    """

    def __init__(self, url: str, kind: str, patience: float, tell: Callable[[str], None]) -> None:
        self.url, self.kind, self.patience, self.tell = url.rstrip("/").removesuffix("/v1"), kind, patience, tell

    def model(self, wanted: str = "") -> Model:
        """The served model of a name, or the only one.

        Raises:
            InputError: there is none of the name, or no name was given and there are several.
            Unfinished: the server does not answer.
        """
        answer = self._send("GET", "/v1/models")
        try:
            served = {str(row["id"]): row for row in answer.json()["data"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"rollout.server.url: {self.url}/v1/models is not what an OpenAI-compatible server answers; correct the address"
            ) from error
        name = wanted or (next(iter(served)) if len(served) == 1 else "")
        if name not in served:
            problem = f"{wanted!r} is not served" if wanted else f"empty, and {len(served)} models are served"
            raise InputError(
                f"rollout.server.model: {problem} at {self.url}; give one of {', '.join(served) or '(none)'}"
            )
        length = served[name].get("max_model_len")
        return Model(name, length if isinstance(length, int) else None)

    def load(self, folder: Path) -> None:
        """Have the server read the weights of a model folder, and forget keys and values of the old ones.

        Raises:
            InputError: the server has no such address.
            OffleashError: it could not load them.
            Unfinished: it does not answer.
        """
        kind = KINDS[self.kind]
        for path, body in ((kind.load, kind.body(str(folder))), (kind.flush, {})):
            answer = self._send("POST", path, body)
            if answer.status_code == 404:
                raise InputError(f"rollout.server: {self.url}{path} is not there (404); {kind.missing}")
            said = _json(answer)
            refused = isinstance(said, dict) and said.get("success") is False
            if not answer.is_success or refused:
                raise OffleashError(
                    f"rollout.server: {self.url}{path} answered {answer.status_code} ({_line(answer.text)}) for the weights in "
                    f"{folder}; see that the server can read that folder, serves a model of the same architecture, and is a "
                    "version that loads weights from a folder; --resume goes on"
                )

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        """The answer, once there is one; a server that is away is asked again until patience ends."""
        key = os.environ.get(API_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        began, rest = time.monotonic(), FIRST_REST
        while True:
            try:
                timeout = httpx2.Timeout(LOADING, connect=10.0)
                answer = httpx2.request(method, self.url + path, json=body, headers=headers, timeout=timeout)
                if answer.status_code in (401, 403):
                    raise InputError(
                        f"rollout.server: {self.url}{path} answered {answer.status_code}; put its key into the environment variable "
                        f"{API_KEY}"
                    )
                if answer.status_code not in AWAY:
                    return answer
                reason = f"answered {answer.status_code} ({_line(answer.text)})"
            except httpx2.InvalidURL as error:
                raise InputError(f"rollout.server.url: {self.url} is not an address ({error})") from error
            except httpx2.TransportError as error:
                reason = f"cannot be reached ({_line(str(error)) or type(error).__name__})"
            waited = time.monotonic() - began
            if waited + rest > self.patience:
                raise Unfinished(
                    f"rollout.server: {self.url}{path} {reason}, for {waited:.0f} s; start the server again, and --resume goes on"
                )
            self.tell(f"{self.url} {reason}; asked again in {rest:.0f} s, for {self.patience - waited:.0f} s more")
            time.sleep(rest)
            rest = min(2 * rest, LONGEST_REST)


class ServerEngine(OpenAIEngine):
    """Samples from a server, in token ids.

    Args:
        control: of the server; `model` is what it said that it serves.
        model: likewise.
        tokenizer, config: of the model that is trained.
        end_tokens: what ends a completion.
        sampling: how completions are drawn.
        concurrency: requests that the server has at one time.
    """

    name = "server"

    def __init__(
        self,
        control: Control,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        end_tokens: list[int],
        sampling: SamplingSettings,
        concurrency: int,
    ) -> None:
        require_vocabulary(config, tokenizer)
        # Few attempts: a server that has been away may have started anew, with other weights, so the caller has to know.
        patience = Patience(concurrency=concurrency, timeout=LOADING, attempts=3, patience=10.0)
        fields = {**NEUTRAL, **KINDS[control.kind].extra, "stop_token_ids": end_tokens, "skip_special_tokens": False}
        fields["return_token_ids"] = True
        server = Server(model.name, (control.url + "/v1",), logprobs="sampling", body=fields, patience=patience)
        super().__init__(server, sampling)
        self.control, self.tokenizer, self.end_tokens = control, tokenizer, end_tokens
        self.context = min(context_length(config), model.context or 2**30)
        self.vocabulary = int(config.vocab_size)

    def settings(self) -> dict[str, Any]:
        """What makes samples comparable: stored as the sampler's identity."""
        return {**super().settings(), "kind": self.control.kind, "end_tokens": self.end_tokens}

    def tokenize(self, prompts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each different prompt; InputError for one that is empty or too long for the model or the server."""
        return tokenize(self.tokenizer, prompts, self.sampling.max_completion_length, self.context)

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order; entropies are NaN, which servers do not give. See `OpenAIEngine`."""
        known = prompt_ids(requests, self.tokenize)
        return super().generate([replace(r, ids=ids) for r, ids in zip(requests, known, strict=True)], on_finished)

    def _body(self, request: Request) -> dict[str, Any]:
        return {**super()._body(request), "prompt": list(request.ids or ())}

    def _completion(self, request: Request, answer: Any) -> Completion:
        found = super()._completion(request, answer)
        ids = list(found.token_ids)
        if not ids:
            raise Malformed("no tokens")
        if UNKNOWN_TOKEN in ids:
            raise InputError(
                f"rollout.server: {self.control.url} does not send token ids (return_token_ids), and a text encoded again may be "
                "other tokens; use a vLLM or SGLang that sends them"
            )
        if any(math.isnan(x) for x in found.logprobs):
            raise InputError(f"rollout.server: {self.control.url} does not send the log-prob of every sampled token")
        if max(ids) >= self.vocabulary:
            raise InputError(
                f"rollout.server: {self.control.url} sent token {max(ids)}, and the model that is trained has {self.vocabulary}; it "
                "serves another model"
            )
        if found.finish_reason == "stop" and not self.sampling.stop and ids[-1] not in self.end_tokens:
            raise InputError(
                f"rollout.server: {self.control.url} leaves out the end token, which is trained like any other"
            )
        return replace(found, text=cut(decoded(self.tokenizer, ids, self.end_tokens), self.sampling.stop)[0])


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _line(text: str) -> str:
    """Foreign text as at most 200 printable characters of one line."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:200]

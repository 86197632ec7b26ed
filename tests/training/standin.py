"""An inference server on loopback that really loads the weights it is told to load, and misbehaves when asked to.

It answers as vLLM and SGLang do where training asks them: /v1/models, completions of token ids with ids and log-probs, and the
addresses that load weights from a folder and flush the prefix cache. With the trainer's own seeds it draws the trainer's samples.
"""

from __future__ import annotations

import importlib.util
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from offleash import nn
from offleash.core import Completion
from offleash.engines import Request, SamplingSettings
from offleash.engines.native import NativeEngine

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "engines" / "loopback.py")
assert _spec and _spec.loader
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)

ALL = ("token_ids", "logprobs", "usage")


class StandIn(loopback.Loopback):  # type: ignore[misc]
    """A server of one model.

    Args:
        model: what it serves before it is told to load anything else.
        gives: as `Loopback`.
        name: of the model, in /v1/models.
        deaf_from: it says yes to this load and those after it (counted from 0), and keeps the weights it has.
        without: addresses that are not there.
    """

    def __init__(
        self,
        model: str = "base",
        gives: tuple[str, ...] = ALL,
        name: str = "policy",
        deaf_from: int = 10**9,
        without: tuple[str, ...] = (),
    ) -> None:
        self.first = nn.load(model)
        super().__init__(*self.first, gives)
        self.name, self.deaf_from, self.without = name, deaf_from, without
        self.loads: list[Path] = []
        self.posts: list[str] = []
        self.refusal = ""
        """What SGLang says where it does not load."""
        self.engines: dict[SamplingSettings, NativeEngine] = {}
        self.waiting: dict[SamplingSettings, list[tuple[Request, list[Completion]]]] = {}
        self.crash_at: int | None = None
        """A POST at which it starts anew, if it is for a completion: with its first weights."""
        self.after: list[Any] = ["reset"] * 40
        """What the requests after that get."""

    def __enter__(self) -> StandIn:
        self.server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"loopback": self}))
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def serve(self, model: Any) -> None:
        with self.model_lock:
            self.model, self.engines = model, {}

    def load(self, folder: str) -> None:
        if len(self.loads) < self.deaf_from:
            self.serve(nn.load(folder)[0])
        self.loads.append(Path(folder))

    def answer(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        sampling = SamplingSettings(body["temperature"], body["max_tokens"], tuple(body.get("stop", ())))
        completion = self.drawn(sampling, Request("", "x", 0, body["seed"], ids=tuple(body["prompt"])))
        # A text that is of no use: only the ids count.
        choice: dict[str, Any] = {"index": 0, "finish_reason": completion.finish_reason, "text": "?", "logprobs": None}
        if "token_ids" in self.gives and body.get("return_token_ids"):
            choice["token_ids"] = completion.token_ids
        if "logprobs" in self.gives:
            choice["logprobs"] = {"token_logprobs": completion.logprobs}
        return {"choices": [choice], "usage": {"completion_tokens": len(completion.token_ids)}}

    def drawn(self, sampling: SamplingSettings, request: Request) -> Completion:
        """Whoever gets the lock draws for all that wait."""
        place: list[Completion] = []
        with self.lock:
            self.waiting.setdefault(sampling, []).append((request, place))
        with self.model_lock:
            with self.lock:
                mine = [] if place else self.waiting.pop(sampling)
            if mine and sampling not in self.engines:
                self.engines[sampling] = NativeEngine(self.model, self.tokenizer, sampling, 32)
            for (_, to), found in zip(mine, self._draw(sampling, [r for r, _ in mine]), strict=True):
                to.append(found)
        return place[0]

    def _draw(self, sampling: SamplingSettings, requests: list[Request]) -> list[Completion]:
        return self.engines[sampling].generate(requests) if requests else []


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    """Connections that wait to be accepted: all completions of a step are asked for at once."""


class _Handler(loopback._Handler):  # type: ignore[misc]
    def do_GET(self) -> None:
        rows = [{"id": name, "max_model_len": 64} for name in self.loopback.name.split(",")]
        self.send(200, {"object": "list", "data": rows} if self.path == "/v1/models" else {})

    def reply(self, body: dict[str, Any], fault: Any) -> None:
        stand = self.loopback
        stand.posts.append(self.path)
        if stand.key and self.headers.get("Authorization") != f"Bearer {stand.key}":
            super().reply(body, None)
        elif self.path in stand.without:
            self.send(404, {"detail": "Not Found"})
        elif fault is not None:
            super().reply(body, fault)
        elif self.path == "/collective_rpc":
            assert body["method"] == "reload_weights" and body["kwargs"]["is_checkpoint_format"] is True
            stand.load(body["kwargs"]["weights_path"])
            self.send(200, {"results": [None]})
        elif self.path == "/update_weights_from_disk":
            stand.load(body["model_path"])
            said = stand.refusal or "Succeeded to update model weights."
            self.send(200, {"success": not stand.refusal, "message": said})
        elif self.path in ("/reset_prefix_cache", "/flush_cache"):
            self.send(200, b"")
        else:
            self.complete(body)

    def complete(self, body: dict[str, Any]) -> None:
        stand = self.loopback
        with stand.lock:
            crashes = stand.crash_at is not None and len(stand.posts) >= stand.crash_at
            if crashes:
                stand.crash_at = None
                stand.faults.extend(stand.after)
        if crashes:
            stand.serve(stand.first[0])
            super().reply(body, "reset")
        else:
            super().reply(body, None)

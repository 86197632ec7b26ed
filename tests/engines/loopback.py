"""A real HTTP server on loopback that speaks the completions protocol for a model of ours, and fails when told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from offleash.core import InputError
from offleash.engines.base import Request, SamplingSettings
from offleash.engines.hf import HfEngine


class Loopback:
    """Serves a model.

    Args:
        model, tokenizer: what is served.
        gives: what an answer holds beside its text, of "token_ids", "logprobs", "usage".
        key: the API key that requests must carry.

    `faults` are taken one a request, the oldest first: a status, (status, seconds of Retry-After), "slow", "garbage",
    "nothing" (JSON without choices) or "reset"; None answers as usual.
    """

    def __init__(
        self, model: Any, tokenizer: Any, gives: tuple[str, ...] = ("logprobs", "usage"), key: str = ""
    ) -> None:
        self.model, self.tokenizer, self.gives, self.key = model, tokenizer, gives, key
        self.faults: deque[Any] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.busy = self.most = 0
        self.lock, self.model_lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> Loopback:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"loopback": self}))
        self.server.daemon_threads = False  # closing waits for them: none may be in torch when the interpreter ends
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        sampling = SamplingSettings(body["temperature"], body["max_tokens"], tuple(body.get("stop", ())))
        with self.model_lock:
            engine = HfEngine(self.model, self.tokenizer, sampling)
            completion = engine.generate([Request("", prompt, 0, body["seed"])])[0]
        choice: dict[str, Any] = {"index": 0, "finish_reason": completion.finish_reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": completion.text}} if chat else {"text": completion.text}
        if "token_ids" in self.gives:
            choice["token_ids"] = completion.token_ids
        if "logprobs" in self.gives and body.get("logprobs"):
            choice["logprobs"] = (
                {"content": [{"token": "?", "logprob": x} for x in completion.logprobs]}
                if chat
                else {"token_logprobs": completion.logprobs}
            )
        answer: dict[str, Any] = {"object": "text_completion", "model": body["model"], "choices": [choice]}
        if "usage" in self.gives:
            answer["usage"] = {"completion_tokens": len(completion.token_ids)}
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0
    loopback: Loopback

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        loop = self.loopback
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with loop.lock:
            loop.bodies.append(body)
            loop.times.append(time.monotonic())
            fault = loop.faults.popleft() if loop.faults else None
            loop.busy += 1
            loop.most = max(loop.most, loop.busy)
        try:
            self.reply(body, fault)
        finally:
            with loop.lock:
                loop.busy -= 1

    def reply(self, body: dict[str, Any], fault: Any) -> None:
        if self.loopback.key and self.headers.get("Authorization") != f"Bearer {self.loopback.key}":
            self.send(401, {"error": {"message": "wrong key"}})
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault == "garbage":
            self.send(200, b'{"choices": [{"te')
        elif fault == "nothing":
            self.send(200, {"choices": []})
        elif isinstance(fault, int):
            self.send(fault, {"error": {"message": "an injected fault\nof two lines"}})
        elif isinstance(fault, tuple):
            self.send(fault[0], {"detail": "wait"}, {"Retry-After": str(fault[1])})
        else:
            if fault == "slow":
                time.sleep(1.0)
            try:
                self.send(200, self.loopback.answer(body, self.path.endswith("/chat/completions")))
            except InputError as error:
                self.send(400, {"error": {"message": str(error), "type": "BadRequest"}})

    def send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client has gone
            pass

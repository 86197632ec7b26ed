"""Rollouts from an inference server: it is given the weights through a folder before every step, and has to prove that it took them.

    weights -> PATH/step-000012-a1b2c3 -> "load that" -> completions (ids, log-probs) -> scored again by the trainer -> compared

A server that keeps its old weights answers as before, so its word is not taken. At the start it is handed weights with an output
layer of zeros, under which every token has the same probability, and must say so. At every step the trainer scores what was
sampled: where the server's log-probs do not show the last update (server_proof.py), or differ by more than `max_mismatch` on
average, the run stops before it learns from it. The trainer's log-probs are the old policy of every ratio, the server's stay
beside them for objectives that correct for the difference.
"""

from __future__ import annotations

import math
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from offleash.core import Completion, InputError, OffleashError
from offleash.engines import Refused, Request, SamplingSettings, Unfinished
from offleash.engines.native.limits import end_tokens
from offleash.engines.server import Control, ServerEngine
from offleash.training import lora
from offleash.training.episodes import Member
from offleash.training.processes import Processes
from offleash.training.rollout import Rollout
from offleash.training.rows import Row
from offleash.training.server_proof import Proof, Trained, evidence, trained
from offleash.training.settings import RolloutSettings, ServerSettings
from offleash.training.sharding import tied_names, weights_of
from offleash.training.update import Updater

if TYPE_CHECKING:
    from offleash.training.loop import Learner

KEPT = 2
"""Folders of weights that are left: the present one, and the one before, which a slow server may still read."""
NAME = re.compile(r"(step-\d{6}|blank)-[0-9a-f]{6}(\.tmp)?")
BLANK_SAMPLES, BLANK_TOKENS, BLANK_GAP = 8, 4, 0.01
"""Of the first proof: completions, tokens of each, and how far from uniform a log-prob may be, in nats."""
ATTEMPTS = 3
"""How often a step's completions are asked for, where the server goes away in between."""


class Stale(OffleashError):
    """The server samples from other weights than those it was told to load."""


class Link:
    """A server and the folder through which it gets weights; of one run, whatever stage it is in."""

    def __init__(self, settings: ServerSettings, processes: Processes, tell: Callable[[int, str], None]) -> None:
        if processes.zero is not None:
            raise InputError(
                "rollout.engine: server does not go with DeepSpeed; launch without it, or set it to native"
            )
        self.settings, self.processes, self.step = settings, processes, 0
        self.control = Control(settings.url, settings.kind, settings.patience, lambda said: tell(self.step, said))
        self.model = processes.share(lambda: self.control.model(settings.model))
        self.folder = Path(settings.folder)
        self.present: Path | None = None
        """The weights that the server was last told to load."""
        self.proved = False
        self.proof = Proof()
        self.before: Trained = {}

    def push(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, *, blank: bool = False
    ) -> None:
        """Write the weights and have the server load them; the main process does it for all.

        Raises:
            OffleashError: the disk is full, or the server could not load them.
            Unfinished: it does not answer.
        """
        weights = _weights(model, getattr(torch, self.settings.dtype), blank=blank) if self.processes.main else {}

        def work() -> Path:
            folder = self.folder / f"{name}-{secrets.token_hex(3)}"  # never one that a server may have seen
            _write(folder, model, tokenizer, weights)
            self.control.load(folder)
            self._tidy(folder)
            return folder

        self.present = self.processes.share(work)

    def again(self) -> None:
        """Have the server load the present weights once more, for it may have started anew."""
        assert self.present is not None
        self.control.load(self.present)

    def _tidy(self, newest: Path) -> None:
        """Remove what no server reads any more, of this run and of one before it."""
        kept = [newest, self.present][:KEPT]
        for folder in self.folder.iterdir():
            if folder not in kept and NAME.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


class Served(ServerEngine):
    """The engine of a stretch of steps; see the module."""

    def __init__(self, link: Link, learner: Learner, rollout: RolloutSettings, sampling: SamplingSettings) -> None:
        model, tokenizer = learner.model, learner.tokenizer
        ends = end_tokens(tokenizer, model.generation_config, sampling.stop)
        super().__init__(link.control, link.model, tokenizer, model.config, ends, sampling, rollout.rows)
        self.link, self.learner = link, learner

    def refresh(self, step: int) -> None:
        """Give the server the present weights; before the first ones, have it prove that it takes what it is given.

        Raises:
            Stale: it did not.
        """
        self.link.step = step
        model, tokenizer = self.learner.model, self.learner.tokenizer
        if not self.link.proved:
            self.link.push(model, tokenizer, "blank", blank=True)
            self.link.processes.share(self._prove)
            self.link.proved = True
        self.link.push(model, tokenizer, f"step-{step:06d}")

    def _prove(self) -> None:
        """Under an output layer of zeros every token has the same log-prob, in any precision and at any temperature."""
        short = SamplingSettings(self.sampling.temperature, BLANK_TOKENS)
        prompt = (self.end_tokens or [0])[:1]
        requests = [Request("blank", "blank", i, i, tuple(prompt)) for i in range(BLANK_SAMPLES)]
        before, self.sampling = self.sampling, short
        try:
            drawn = super().generate(requests)
        finally:
            self.sampling = before
        size = self.learner.model.get_output_embeddings().weight.shape[0]
        gap = max(abs(x + math.log(size)) for c in drawn for x in c.logprobs)
        if gap > BLANK_GAP:
            raise Stale(
                f"rollout.server: {self.control.url} was told to load weights under which all {size} tokens are equally likely, and "
                f"its log-probs differ from that by {gap:.3g} nats: it did not take the weights (vLLM issue 32718, or it reads another "
                "folder), or serves a model of another vocabulary"
            )

    def generate(
        self, requests: Sequence[Request], on_finished: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """One completion for each request, in their order. A server that was away is given the weights again, and asked for all.

        Raises:
            Unfinished: it stays away; of several processes, at once.
        """
        for left in reversed(range(ATTEMPTS)):
            try:
                return super().generate(requests, on_finished)
            except Refused:
                raise
            except Unfinished as error:
                reason = "; ".join(str(error).split("; ")[:2])
                if left == 0 or self.link.processes.count > 1:
                    raise Unfinished(
                        f"rollout.server: {reason}; start the server again, and --resume goes on"
                    ) from error
                self.control.tell(f"{reason}; it is given the weights again and the completions are drawn anew")
                self.link.again()
        raise AssertionError("unreachable")

    def checked(self, rollout: Rollout, updater: Updater) -> tuple[Rollout, dict[str, float]]:
        """The rollout with the trainer's log-probs in place of the server's, which stay beside them; and how they differ.

        Metrics: mismatch, the largest |difference| of a token, and mismatch_mean; token_entropy, which the server does not send;
        weights_taken, how much of the last update the server's log-probs show, where the weights were not last changed elsewhere.

        Raises:
            Stale: they do not show it, or the mean is above `max_mismatch`, or not a number.
        """
        link, model = self.link, self.learner.model
        scored, metrics, rows = rescored(rollout, updater, self.tokenizer)
        if link.before and rows:
            s = updater.settings
            given = (
                s.rollout.temperature,
                torch.bfloat16 if s.bf16 else None,
                link.processes,
                s.optimizer.micro_batch_rows,
            )
            sums = evidence(model, link.before, rows, *given)
            link.proof.add(sums)
            metrics["weights_taken"] = Proof(sums).slope
        link.before = trained(model)
        shown = f"{link.proof.slope:.2f} of the update (standard error {link.proof.error:.2g}; 1 with the new weights, 0 with the old)"
        taken = link.proof.decide()
        link.processes.share(lambda: self._require(metrics, "" if taken in (True, None) else shown))
        return scored, metrics

    def _require(self, metrics: Mapping[str, float], stale: str) -> None:
        found, limit = metrics.get("mismatch_mean", 0.0), self.link.settings.max_mismatch
        if stale:
            raise Stale(
                f"step {self.link.step + 1}: the log-probs of {self.control.url} show {stale}: it has not taken the weights that it "
                "said it loaded; nothing was learned from this step, --resume goes on"
            )
        if found <= limit:
            return
        other = (
            ""
            if self.sampling.temperature == 1
            else "; or its log-probs are not those at the sampling temperature (vLLM: --logprobs-mode processed_logprobs)"
        )
        raise Stale(
            f"step {self.link.step + 1}: the log-probs of {self.control.url} and of the trainer differ by {found:.3g} nats a token "
            f"(largest {metrics['mismatch']:.3g}; rollout.server.max_mismatch is {limit:g}): most likely the server has not taken the "
            f"weights{other}; nothing was learned from this step, --resume goes on"
        )


def link_of(learner: Learner, settings: ServerSettings) -> Link:
    """The link that a run has to a server, made where there is none: a stage does not prove again what is proved."""
    if settings not in learner.links:
        learner.links[settings] = Link(settings, learner.processes, learner.tell)
    return learner.links[settings]


def rescored(
    rollout: Rollout, updater: Updater, tokenizer: PreTrainedTokenizerBase
) -> tuple[Rollout, dict[str, float], list[Row]]:
    """The rollout's sampled members under the trainer's weights, the differences, and a row each with both log-probs."""
    prompts = tokenizer([p.prompt for p in rollout.problems])["input_ids"]
    members = [(p, m) for p, group in enumerate(rollout.groups) for m in group if m.logprobs is not None]
    rows = [
        Row(prompts[p], list(m.token_ids), None, 0.0, p, False, mask=list(m.mask) if m.mask is not None else None)
        for p, m in members
    ]
    found = updater.scored(rows) if rows else []
    gaps: list[float] = []
    entropies: list[float] = []
    new: dict[int, Member] = {}
    for (_, member), (row, logprobs, entropy) in zip(members, found, strict=True):
        row.old_logprobs, row.engine_logprobs = logprobs, list(member.logprobs or ())
        pairs = zip(row.counted(logprobs), row.counted(member.logprobs), strict=True)
        gaps += [abs(a - b) for a, b in pairs]
        entropies += row.counted(entropy)
        own = logprobs if row.mask is None else [x if mine else 0.0 for x, mine in zip(logprobs, row.mask, strict=True)]
        new[id(member)] = replace(member, logprobs=tuple(own), engine_logprobs=member.logprobs)
    groups = [[new.get(id(m), m) for m in group] for group in rollout.groups]
    metrics = {}
    if gaps:
        mean = {"mismatch_mean": sum(gaps) / len(gaps), "token_entropy": sum(entropies) / len(entropies)}
        metrics = {"mismatch": max(gaps), **mean}
    return replace(rollout, groups=groups), metrics, rows


def explained(settings: RolloutSettings) -> list[str]:
    """What a recipe with a server does, in lines for --dry-run."""
    server = settings.server
    if settings.engine != "server":
        return []
    mode = "" if settings.temperature == 1 else " --logprobs-mode processed_logprobs"
    start = {
        "vllm": f"VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --generation-config vllm{mode}",
        "sglang": "python -m sglang.launch_server --model-path MODEL",
    }
    return [
        f"rollout.engine server: before every step the weights are written to {server.folder} ({server.dtype}, the last {KEPT} are "
        f"kept), and {server.url} is told to load them; started with: {start[server.kind]}",
        "its log-probs are compared with the trainer's at every step; the run stops where they do not show the last update, or "
        f"differ by more than {server.max_mismatch:g} nats a token. "
        "Probes are drawn here, by the native engine. A resumed run is the same only where the server's samples are",
        "the server was not asked: a dry run does not look for it",
    ]


def _weights(model: PreTrainedModel, dtype: torch.dtype, *, blank: bool) -> dict[str, Tensor]:
    """The weights as a checkpoint has them (adapters merged, tied ones once), in the dtype; or with an output layer of zeros."""
    tied = tied_names(model)
    found = lora.merged(model) if lora.adapted(model) else weights_of(model)
    found = {k: v.detach().to("cpu", dtype) for k, v in found.items() if k not in tied}
    if blank:
        own = model.state_dict()
        head = {p.data_ptr() for p in model.get_output_embeddings().parameters()}
        for name in [n for n in found if n in own and own[n].data_ptr() in head]:
            found[name] = torch.zeros_like(found[name])
    return found


def _write(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, weights: dict[str, Any]) -> None:
    """A model folder that appears whole or not at all."""
    partial = folder.with_name(folder.name + ".tmp")
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(partial, state_dict=weights)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:  # the writer of tensors has an error of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise OffleashError(
            f"rollout.server.folder: {folder} cannot be written ({getattr(error, 'strerror', None) or error}); mend that, and "
            "--resume goes on"
        ) from error

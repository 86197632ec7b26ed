"""CUDA graphs: a step whose shapes and addresses stay is recorded once and replayed, one launch instead of hundreds.

Elsewhere the step is simply called, so that the same code runs on a CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Protocol

import torch

Step = Callable[[], None]


class Recorder(Protocol):
    """How steps are recorded."""

    def prepare(self, step: Step) -> None:
        """Do a step once so that the libraries are ready for its shapes."""
        ...

    def record(self, step: Step) -> Step:
        """The recorded step; recording it does not do it."""
        ...


class CudaGraphs:
    """CUDA's own. All graphs share one memory pool: they run one after the other, and what they leave lies in the buffers."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.pool = device, torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def prepare(self, step: Step) -> None:
        """On a stream of its own, as CUDA asks for before a recording."""
        present = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(present)
        with torch.cuda.stream(self.stream):
            step()
        present.wait_stream(self.stream)

    def record(self, step: Step) -> Step:
        """Other threads may go on using the GPU meanwhile."""
        graph, present = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                step()
        finally:
            torch.cuda.set_stream(present)  # torch does not go back to it where a recording fails
        return graph.replay


class Replay:
    """Does steps over static buffers.

    The first step of a shape is done as it is, the second is recorded and replayed, and so are all others: a shape that comes once
    costs no recording, and preparing is never an extra step.

    Args:
        recorder: None calls every step.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self.recorder = recorder
        self.graphs: dict[Hashable, Step | None] = {}

    def __call__(self, shape: Hashable, step: Step) -> None:
        """Do the step. Steps of the same `shape` must be the same work over the same memory."""
        if self.recorder is None:
            step()
            return
        if shape not in self.graphs:
            self.recorder.prepare(step)
            self.graphs[shape] = None
            return
        graph = self.graphs[shape] or self._record(self.recorder, step)
        self.graphs[shape] = graph
        graph()

    def _record(self, recorder: Recorder, step: Step) -> Step:
        try:
            return recorder.record(step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            why = str(error).strip().splitlines()[:1]
            warnings.warn(f"engine: no CUDA graph ({' '.join(why)}); going on step by step", stacklevel=2)
            self.recorder = None
            return step

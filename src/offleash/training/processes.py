"""The processes of a run. Started by accelerate's launcher (or torchrun) they share its work; otherwise there is one.

Every process knows every row of a step, so all of them come to the same advantages, denominators and decisions without asking.
What is divided is work: sampling, verifying, forward and backward passes. What is added up are gradients and metrics: sums
over a denominator of the whole step, so that their number changes nothing but rounding.

An error of one process is told to all at the next meeting (`gather`, `agree`, `share`), and all of them end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from offleash.core import InputError, OffleashError

if TYPE_CHECKING:
    from offleash.training.zero import Zero

T = TypeVar("T")
MINUTES = 30
"""How long a process waits for the others before it gives up; a step's rollouts may differ much in length."""
BUCKET = 2**24
"""Numbers that one addition over the processes takes: it bounds the memory of the copy that is made of gradients."""
RANKED_BY = ("LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables that tell a process its number: of torchrun, and of mpirun."""
LAUNCHED_BY = (*RANKED_BY, "ACCELERATE_MIXED_PRECISION")
"""Variables that launchers set: also of accelerate, which starts a single process without a number."""


class Processes:
    """One process of `count`; number 0 is the main one, which alone writes to disk and to the terminal.

    Alone, everything here is the plain call, and no process group is made.
    """

    def __init__(self, accelerator: Any = None) -> None:
        self.accelerator = accelerator
        self.rank: int = accelerator.process_index if accelerator is not None else 0
        self.count: int = accelerator.num_processes if accelerator is not None else 1
        self.sharded = accelerator is not None and _flag("ACCELERATE_USE_FSDP")
        """Whether each process keeps a part of the weights only (FSDP2)."""
        self.zero: Zero | None = None
        """DeepSpeed's engine, once it has the model."""
        self.ending = False
        """Whether an error that all know of ends the run."""

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def together(self) -> bool:
        """Whether backward passes meet, so that all have to make as many, and a mean of gradients is taken for a sum."""
        return self.sharded or self.zero is not None

    @property
    def device(self) -> torch.device | None:
        """Where the launcher put this process; None where there was none."""
        return self.accelerator.device if self.accelerator is not None else None

    # ------------------------------------------------------------------------------------------------ meetings

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Each process does its own work; the results of all, in their order.

        Raises:
            InputError, OffleashError: what it raised in any process, in all of them.
        """
        if self.count == 1:
            return [work()]
        result, error = _tried(work)
        if error is not None and self.ending:  # all know of it, and some have left
            raise error
        met: list[Any] = [None] * self.count
        self._call(torch.distributed.all_gather_object, met, (result, _message(error)))
        self._end_if_failed([message for _, message in met], error)
        return [found for found, _ in met]

    def agree(self, work: Callable[[], T]) -> T:
        """Each process does its own work and keeps its result; as `gather` where one fails."""
        kept: list[T] = []
        self.gather(lambda: kept.append(work()))
        return kept[0]

    def share(self, work: Callable[[], T]) -> T:
        """The main process does the work; all get its result, or its error."""
        # A meeting like any other, so that a process that failed on its way to another one is understood at this one.
        found: T = self.gather(work if self.main else _nothing)[0]
        return found

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return any(self.gather(lambda: flag))

    def same(self, what: str, value: object) -> None:
        """Raise an OffleashError where the processes have come to different values of what all of them work out."""
        if self.count > 1 and len(set(self.gather(lambda: repr(value)))) > 1:
            self.ending = True
            raise OffleashError(
                f"{what} differ between the processes; they have to run the same versions on the same kind of machine"
            )

    def _call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        try:
            function(*arguments, **named)
        except RuntimeError as error:  # of the process group: the others' connections are closed, or time is up
            self.ending = True
            raise OffleashError(
                f"another process of this run has ended ({str(error).splitlines()[0]}); what was finished is on disk: "
                "--resume goes on"
            ) from error

    def _end_if_failed(self, messages: Sequence[tuple[bool, str] | None], own: Exception | None) -> None:
        failed = [(rank, message) for rank, message in enumerate(messages) if message is not None]
        if not failed:
            return
        self.ending = True
        if own is not None:
            raise own
        rank, (is_input, text) = failed[0]
        raise InputError(text) if is_input else OffleashError(text if rank == 0 else f"process {rank}: {text}")

    # ------------------------------------------------------------------------------------------------ shares of work

    def part(self, count: int) -> range:
        """Which of so many things, in order, are this process's."""
        return range(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def share_of(self, items: Sequence[T], sizes: Sequence[int]) -> list[T]:
        """This process's stretch of the items: those whose middle lies in its part of the sizes' sum."""
        return self.shares(items, sizes)[self.rank]

    def shares(self, items: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
        """Everybody's stretch. One may be empty."""
        found: list[list[T]] = [[] for _ in range(self.count)]
        before, total = 0, sum(sizes)
        for item, size in zip(items, sizes, strict=True):
            found[min((2 * before + size) * self.count // (2 * total) if total else 0, self.count - 1)].append(item)
            before += size
        return found

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """The sum over all processes in place of each one's own; a process without a gradient adds nothing.

        FSDP and DeepSpeed do that themselves, in the backward pass.
        """
        if self.count == 1 or self.together:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(g.numel() for g in bucket) >= BUCKET:
                self._add(bucket)
                bucket = []
        self._add(bucket)

    def _add(self, bucket: Sequence[Tensor]) -> None:
        for dtype in {g.dtype for g in bucket}:
            alike = [g for g in bucket if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in alike])
            self._call(torch.distributed.all_reduce, flat)
            for gradient, total in zip(alike, flat.split([g.numel() for g in alike]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def end(self) -> None:
        """Take leave of the others."""
        if self.accelerator is not None and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


ALONE = Processes()


@functools.cache
def start() -> Processes:
    """The processes that a launcher started; ALONE where none did. Accelerate is loaded only then.

    Raises:
        InputError: something was asked of the launcher that is the recipe's, or that is not supported.
    """
    if not any(name in os.environ for name in LAUNCHED_BY) and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    _check_launch()
    from accelerate import Accelerator, InitProcessGroupKwargs

    on_cpu = _flag("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    limit = InitProcessGroupKwargs(timeout=timedelta(minutes=MINUTES))
    made = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[limit])
    return (
        Processes(made)
        if made.num_processes > 1 or not on_cpu or _flag("ACCELERATE_USE_FSDP") or zero_wanted()
        else ALONE
    )


def leave(code: int) -> None:
    """End this process with the exit code, if it was one of several; otherwise do nothing.

    Threads of the process group let go of the last meeting's tensors a moment after it, and for that they need Python. Where
    Python is being taken down just then, they abort the whole process (exit code -6, "terminate called without an active
    exception"; pytorch 179291). So Python is left standing, after everything that has to be done at its end.
    """
    if start.cache_info().currsize == 0 or start() is ALONE:
        return
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _check_launch() -> None:
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no":
        raise InputError(
            f"--mixed_precision: {os.environ['ACCELERATE_MIXED_PRECISION']}, but the precision is the recipe's, so that it is "
            "stored with the run; launch with --mixed_precision no"
        )
    if _flag("ACCELERATE_USE_DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise InputError("--use_deepspeed: deepspeed is not installed; pip install --no-build-isolation deepspeed")
    if _flag("ACCELERATE_USE_CPU") and "MASTER_PORT" in os.environ and not any(n in os.environ for n in RANKED_BY):
        raise InputError(
            "--num_processes: with --cpu accelerate starts one process, whatever their number, unless mpirun does it; launch "
            "with torchrun --nproc_per_node N, or accelerate launch --multi_gpu, which takes CPUs where there is no GPU"
        )
    if _flag("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("--fsdp_version: 1 is not supported; launch with --fsdp_version 2")


def zero_wanted() -> bool:
    """Whether the launcher was asked for DeepSpeed."""
    return _flag("ACCELERATE_USE_DEEPSPEED")


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1")


def _nothing() -> Any:
    return None


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001  raised again in this process once all know of it
        return None, error


def _message(error: Exception | None) -> tuple[bool, str] | None:
    """Whether it is the user's to mend, and what it says; of a bug also its kind."""
    if error is None:
        return None
    text = str(error) if isinstance(error, OffleashError) else f"{type(error).__name__}: {error}"
    return isinstance(error, InputError), text

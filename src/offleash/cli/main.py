"""Entry point of the `offleash` program. It loads next to nothing itself, so that Ctrl-C is heard from the first moment.

Exit codes: 0 done, 1 the run failed, 2 bad input (one line naming the field and the mend), 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

# Read by OpenMP and tokenizers when torch loads. Without the first two, torch on busy cores spins and slows down tenfold.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Ctrl-C at any moment, also while libraries load, is one line and 130."""
    try:
        from offleash.cli import app

        return app.run(arguments)
    except KeyboardInterrupt as stop:
        message = " ".join(str(stop).split()) or "interrupted; what was finished is on disk"
        print(f"offleash: {message}", file=sys.stderr)
        return 130


def main() -> None:
    """Entry point of the console script."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first was told
        code = 130
    # What is left is the interpreter's own end; the exit code stands.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes = sys.modules.get("offleash.training.processes")
    if processes is not None:
        processes.leave(code)
    sys.exit(code)

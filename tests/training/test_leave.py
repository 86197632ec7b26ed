"""A process of several ends without Python's own teardown, in which threads of the process group abort it now and then."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from offleash.training import processes
from tests.training.several import commands

PROGRAM = """
import atexit, os, sys, threading, time
from offleash.training.processes import leave, start
made = start()
print("begun")
atexit.register(print, "last words")
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread's work"))).start()
made.end()
leave(3)
print("not alone, yet still here")
"""


def test_alone_nothing_happens() -> None:
    processes.start.cache_clear()
    processes.leave(3)  # nobody has asked for the processes yet
    assert processes.start() is processes.ALONE
    processes.leave(3)


@pytest.mark.slow
def test_of_several_each_ends_with_its_code_and_says_all_it_had_to_say() -> None:
    made = commands(2, ["-c", PROGRAM])
    said = [process.communicate(timeout=120)[0] for process in made]
    assert [process.returncode for process in made] == [3, 3]
    assert said == ["begun\na thread's work\nlast words\n"] * 2


@pytest.mark.slow
def test_nobody_reads_what_it_says() -> None:
    read, write = os.pipe()
    os.close(read)
    launched = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    launched |= {"ACCELERATE_USE_CPU": "true", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    launched["PYTHONUNBUFFERED"] = ""  # so that the line is still in the buffer at the end
    program = "from offleash.training.processes import leave, start; start(); print(1); leave(3)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | launched, stdout=write, stderr=subprocess.PIPE, timeout=120
    )
    os.close(write)
    assert done.returncode == 3, done.stderr[-2000:]

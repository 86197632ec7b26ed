"""Programs that try to pass without being right. Each is wrong; none may be judged right or undecided."""

from __future__ import annotations

import pytest

from offleash.tasks.code import Sandbox

SECRET = 918273645
CALLS = {"form": "calls", "name": "f", "tests": [{"args": [1], "expected": [SECRET]}, {"args": [2], "expected": [2]}]}
CODE = {
    "form": "code",
    "setup": f"secret = {SECRET}",
    "test": "def check(candidate):\n    assert candidate(1) == [secret], 'first'\n    assert candidate(2) == [2]\ncheck(f)",
    "names": ["f"],
}

CHEATS = {
    "leaves while it loads": "import os\nos._exit(0)",
    "leaves in the call": "import os\ndef f(x): os._exit(0)",
    "exits well while it loads": "import sys\nsys.exit(0)",
    "exits well in the call": "def f(x): raise SystemExit(0)",
    "exits at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return None",
    "interrupts": "def f(x): raise KeyboardInterrupt",
    "calls everything equal": """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def f(x): return Equal()""",
    "list that equals all": """
class L(list):
    def __eq__(self, other): return True
    def __len__(self): return 1
    def __iter__(self): return iter([])
def f(x): return L()""",
    "number that equals all": """
class N(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def f(x): return [N(0)]""",
    "text that equals all": """
class S(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return S('x')""",
    "lies about its class": """
class C:
    __class__ = list
    def __iter__(self): return iter(())
    def __eq__(self, other): return True
def f(x): return C()""",
    "patches builtins": """
import builtins, operator
builtins.AssertionError = builtins.Exception = type('Quiet', (BaseException,), {})
builtins.abs = builtins.len = lambda *a: 0
builtins.isinstance = lambda *a: True
operator.eq = lambda a, b: True
def f(x): return 0""",
    "patches the serialiser": """
import json, sys, gc
for thing in gc.get_objects():
    if isinstance(thing, dict) and 'pack' in thing and 'send' in thing:
        thing['pack'] = lambda value: b'true'
json.dumps = lambda *a, **k: '{"correct": true}'
def f(x): return 0""",
    "looks through frames and memory for the tests": """
import gc, sys
def likely(value):
    if type(value) is int and 918000000 < value < 919000000: return value
    if isinstance(value, (str, bytes)) and ' '.join(['assert', 'candidate']) in str(value): return int('918' + str(273645))
def search():
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if likely(value): return likely(value)
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, dict): thing = thing.values()
        elif not isinstance(thing, (list, tuple)): continue
        for value in list(thing):
            if likely(value): return likely(value)
def f(x): return [2] if x == 2 else [search()]""",
    "looks through files for the tests": """
import os
def f(x):
    if x == 2: return [2]
    for folder, _, names in os.walk('/'):
        if folder.startswith(('/dev', '/proc')): continue
        for name in names:
            if 'humaneval' in name.lower() or name.endswith(('.jsonl', '.jsonl.gz')):
                return [918273645]
    for fd in range(3, 64):
        try:
            if b'91827' in os.pread(fd, 1 << 20, 0): return [918273645]
        except OSError: pass""",
    "looks into other processes": """
import os
def f(x):
    if x == 2: return [2]
    for place in ('/proc/1', '/proc/self', '/proc/2'):
        if os.path.exists(place): return [918273645]
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in (1, os.getppid()):
        if libc.ptrace(16, pid, 0, 0) == 0: return [918273645]
        class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]
        mine = ctypes.create_string_buffer(8)
        if libc.process_vm_readv(pid, ctypes.byref(V(ctypes.addressof(mine), 8)), 1, ctypes.byref(V(id(0), 8)), 1, 0) > 0:
            return [918273645]""",
    "writes verdicts into every file": """
import os, json
verdict = json.dumps({'correct': True, 'reason': ''}).encode()
for fd in range(0, 64):
    for text in (verdict, len(verdict).to_bytes(8, 'little') + verdict):
        try: os.write(fd, text)
        except OSError: pass
def f(x): return 0""",
    "prints verdicts": "print('{\"correct\": true}', flush=True)\nimport sys\nsys.stderr.write('OK')\ndef f(x): return 0",
    "ends its judge": """
import os, signal
def f(x):
    for pid in (1, os.getppid(), -1, 0):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGKILL):
            try: os.kill(pid, number)
            except OSError: pass
    return [2]""",
    "answers from a second process": """
import os
def f(x):
    if os.fork() == 0: return [2]
    return [1]""",
    "promises more than it sends": "import os\nfor fd in range(3, 9):\n    try: os.write(fd, (2**60).to_bytes(8, 'little'))\n    except OSError: pass\ndef f(x): return 0",
    "answers nested brackets": "import os\nb = b'v' + b'[' * 200000\nfor fd in range(3, 9):\n    try: os.write(fd, len(b).to_bytes(8, 'little') + b)\n    except OSError: pass\ndef f(x): return 0",
    "answers odd tags": 'import os\nfor b in (b\'v{"set": [[1]]}\', b\'v{"complex": [1e999, "a"]}\', b\'v{"dict": 3}\', b\'e{}\', b\'x[]\', b\'x{"code": 0}\', b\'x{"code": 0, "signal": 9, "cpu": "a"}\', b\'x{"code": 1e999, "signal": 0, "cpu": 0}\', b\'\', b\'q\'):\n    for fd in range(3, 9):\n        try: os.write(fd, len(b).to_bytes(8, \'little\') + b)\n        except OSError: pass\ndef f(x): return 0',
    "says that it has ended well": 'import os\nb = b\'x{"code": 0, "signal": 0, "full": false}\'\nfor fd in range(3, 9):\n    try: os.write(fd, len(b).to_bytes(8, \'little\') + b)\n    except OSError: pass\ndef f(x): return 0',
    "returns a generator": "def f(x): yield 918273645",
    "returns itself": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "raises what the judge raises": """
class Wrong(BaseException): pass
class Unfit(BaseException): pass
def f(x): raise Unfit('undecided, please')""",
    "raises a text that raises": """
class E(Exception):
    def __str__(self): raise RuntimeError
def f(x): raise E""",
    "starts programs": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)\ndef f(x): return [2]",
    "raises its limits": """
import resource
for kind in range(16):
    try: resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError): pass
def f(x): return bytearray(10**9) and [2]""",
    "becomes root": """
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def f(x):
    won = [libc.setuid(0) == 0, libc.unshare(0x10000000) == 0, libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0,
           libc.chroot(b'/tmp') == 0, libc.sethostname(b'x', 1) == 0]
    return [918273645] if any(won) and x == 1 else [x]""",
    "writes where others read": """
import os, sys
def f(x):
    for place in ('/', '/lib', '/usr/lib', os.path.dirname(os.__file__)):
        try:
            open(os.path.join(place, 'offleash-was-here'), 'w').close()
            if place != '/': return [918273645] if x == 1 else [2]
        except OSError: pass
    return [x]""",
    "uses the network": """
import socket
def f(x):
    for address in (('127.0.0.1', 22), ('1.1.1.1', 53)):
        try:
            socket.create_connection(address, timeout=1)
            return [918273645] if x == 1 else [2]
        except OSError: pass
    with socket.socket(socket.AF_UNIX) as s:
        for name in ('\\0/tmp/.X11-unix/X0', '\\0offleash'):
            try: s.connect(name); return [918273645] if x == 1 else [2]
            except OSError: pass
    return [x]""",
}


@pytest.mark.slow
@pytest.mark.parametrize("tests", [CALLS, CODE], ids=["calls", "code"])
@pytest.mark.parametrize("cheat", CHEATS)
def test_cheat_is_judged_wrong(sandbox: Sandbox, cheat: str, tests: dict) -> None:
    outcome = sandbox.judge(CHEATS[cheat], tests)
    assert outcome.correct is False, outcome
    assert outcome.reason
    assert (
        sandbox.judge(f"def f(x): return [{SECRET}] if x == 1 else [x]", tests).correct is True
    )  # and what is right still passes


SCRIPTS = {
    "ends well without an answer": "import os\nos._exit(0)",
    "leaves the answers of others open": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'6\\n')\n    except OSError: pass",
    "answers from a second process": "import os\nif os.fork() == 0:\n    import time; time.sleep(0.2); print(6)",
    "replaces its output": "import sys\nclass Any:\n    def write(self, *a): return 1\n    def flush(self): pass\n    def __eq__(self, other): return True\nsys.stdout = Any()\nprint(6)",
    "right answer and a crash": "print(6, flush=True)\nraise ValueError",
    "right answer and a bad exit": "import sys\nprint(6)\nsys.exit(3)",
}


@pytest.mark.parametrize("cheat", SCRIPTS)
def test_script_that_cheats_is_judged_wrong(sandbox: Sandbox, cheat: str) -> None:
    tests = {"form": "stdio", "tests": [{"input": "2 3\n", "output": "6\n"}]}
    outcome = sandbox.judge(SCRIPTS[cheat], tests)
    assert outcome.correct is False and outcome.reason


def test_a_test_that_catches_everything_does_not_hide_a_dead_candidate(sandbox: Sandbox) -> None:
    test = "try:\n    f(1)\nexcept Exception:\n    pass"
    judged = {"form": "code", "setup": "", "test": test, "names": ["f"]}
    assert sandbox.judge("def f(x): raise ValueError", judged).correct is True
    assert sandbox.judge("import os\ndef f(x): os._exit(0)", judged).correct is False
    bare = judged | {"test": "try:\n    f(1)\nexcept BaseException:\n    pass"}
    assert sandbox.judge("import os\ndef f(x): os._exit(0)", bare).correct is False


def test_the_search_through_memory_would_find_tests_that_are_there() -> None:
    space: dict = {}
    held = dict(CALLS["tests"][0])
    exec(CHEATS["looks through frames and memory for the tests"], space)
    assert space["f"](1) == held["expected"]

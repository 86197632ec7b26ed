"""What holds for every test: one thread, checked shapes, and skips that say why."""

from __future__ import annotations

import os
import signal
import sys

# Started in the background by a shell, a process ignores SIGINT, and so do its children: tests that send it would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What wrote the golden files runs in environments of its own.
collect_ignore_glob = ["golden/*/*.py"]

# Before anything loads torch: one thread a worker, and no spinning (two busy torch processes on two cores collapse).
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ[_name] = _value

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes and dtypes in the annotations of these rooms are checked at every call, in tests only.
install_import_hook(["offleash.objectives", "offleash.nn", "offleash.boundary"], "beartype.beartype")

settings.register_profile("offleash", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("offleash")

OPTIONS = {
    "slow": ("--run-slow", "takes more than about five seconds"),
    "prove": ("--run-proofs", "a long proof"),
    "network": ("--run-network", "reaches outside this machine"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark, (option, why) in OPTIONS.items():
        parser.addoption(option, action="store_true", default=False, help=f"run the tests marked {mark}: {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark, (option, why) in OPTIONS.items():
        if not config.getoption(option):
            skip = pytest.mark.skip(reason=f"{why}: runs with {option}")
            for item in items:
                if mark in item.keywords:
                    item.add_marker(skip)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "gpu" in item.keywords:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no accelerator on this machine")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Torch reads OMP_NUM_THREADS when it loads; a test that changed its threads must not slow down the next."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def seed() -> int:
    """For tests of random behaviour; OFFLEASH_TEST_SEED varies it, and every value must pass."""
    return int(os.environ.get("OFFLEASH_TEST_SEED", "0"))

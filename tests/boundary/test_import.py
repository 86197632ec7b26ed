"""`import offleash.boundary` brings numpy, and nothing that a script would wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

# scipy is imported where it is used, and only the part that is used.
FORBIDDEN = ("torch", "transformers", "accelerate", "scipy.special", "scipy.stats", "scipy.optimize", "scipy.linalg", "pandas",
             "pyarrow", "duckdb", "pydantic", "typer", "rich", "jinja2", "matplotlib", "plotly")  # fmt: skip


def fresh(code: str) -> str:
    """Standard output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout


def test_import_loads_numpy_alone() -> None:
    loaded = fresh(f"import sys, offleash.boundary; print(*[m for m in {FORBIDDEN!r} if m in sys.modules])").split()
    assert loaded == [], f"import offleash.boundary loads {loaded}"


@pytest.mark.slow
def test_measuring_loads_no_torch_and_no_tables() -> None:
    """Nor does the comparison of two models, which needs more of scipy."""
    code = (
        "import sys; from offleash.boundary import Counts, compare\n"
        "a, b = Counts(('p', 'q'), [1, 2], [4, 4]), Counts(('p', 'q'), [0, 4], [4, 4])\n"
        "compare(a, b, replicates=200)\n"
        "print(*[m for m in ('torch', 'pandas', 'pyarrow', 'duckdb', 'typer') if m in sys.modules])"
    )
    assert fresh(code).split() == []


@pytest.mark.slow
def test_import_costs_no_more_than_scipy() -> None:
    """CPU time of the whole import, at most that of numpy and scipy.stats in this run (about a quarter, best of three each)."""

    def seconds(modules: str) -> float:
        code = f"import time; start = time.process_time(); import {modules}; print(time.process_time() - start)"
        return min(float(fresh(code)) for _ in range(3))

    assert seconds("offleash.boundary") < seconds("numpy, scipy.stats")

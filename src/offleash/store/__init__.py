"""Results on disk: stores of samples and verdicts, run folders, studies. No torch; pyarrow and duckdb load when used."""

from offleash.store.runs import RunFolder
from offleash.store.schema import (
    CountRow,
    SampleRow,
    StoredProblem,
    Unverified,
    VerdictRow,
    same_record,
    sampler_id,
    storable_text,
)
from offleash.store.store import Store, open_or_create
from offleash.store.study import Arm, Checkpoint, Stratum, Study, read_study, write_study
from offleash.store.writer import Writer

__all__ = [
    "Store",
    "open_or_create",
    "Writer",
    "SampleRow",
    "VerdictRow",
    "CountRow",
    "StoredProblem",
    "Unverified",
    "same_record",
    "sampler_id",
    "storable_text",
    "RunFolder",
    "Study",
    "Arm",
    "Stratum",
    "Checkpoint",
    "read_study",
    "write_study",
]

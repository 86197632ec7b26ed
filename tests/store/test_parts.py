"""Damaged files are named and can be mended; half-written ones are never seen."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import filled, part, problem, sample

from offleash.core import InputError
from offleash.store import Store
from offleash.store.parts import next_number

MEND = "delete this file, then run the same `offleash sample` again"


@pytest.mark.parametrize("table", ["problems", "samples", "verdicts"])
@pytest.mark.parametrize("keep", [0, 3, 8, 100, -1, -8])
def test_a_truncated_file_is_named_with_its_mend(tmp_path: Path, table: str, keep: int) -> None:
    store = filled(tmp_path / "s")
    bad = part(store, table)
    bad.write_bytes(bad.read_bytes()[:keep])
    for reader in (store, Store.open(tmp_path / "s")):
        with pytest.raises(InputError, match="truncated or not a parquet file") as caught:
            reader.counts("base")
        assert str(bad) in str(caught.value) and MEND in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_cut_in_the_middle_is_named(tmp_path: Path) -> None:
    """Both ends are there, as after a copy that lost a block; the footer's length then points nowhere sensible."""
    store = filled(tmp_path / "s", n=200)
    bad = part(store, "samples")
    content = bad.read_bytes()
    for lost in (content[:200] + content[-8:], content[:4] + content[-4:] * 3, b"PAR1" + b"\xff" * 50 + b"PAR1"):
        bad.write_bytes(lost)
        with pytest.raises(InputError, match="part-0") as caught:
            store.counts("base")
        assert str(bad) in str(caught.value) and MEND in str(caught.value)


def test_zeroed_pages_are_found_when_they_are_read(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", n=400)
    bad = part(store, "samples")
    content = bytearray(bad.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)  # the footer is whole
    bad.write_bytes(content)
    with pytest.raises(InputError, match="part-0") as caught:
        store.sql("SELECT * FROM samples")
    assert str(bad) in str(caught.value) and MEND in str(caught.value)
    assert [found.path for found in store.bad_parts()] == [bad]


def test_a_flipped_bit_is_found_by_the_checksums(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", n=50)
    assert store.bad_parts() == []
    bad = part(store, "verdicts")
    content = bytearray(bad.read_bytes())
    group = pq.read_metadata(bad).row_group(0).column(7)
    content[group.data_page_offset + group.total_compressed_size - 2] ^= 1
    bad.write_bytes(content)
    assert [found.path for found in store.bad_parts()] == [bad]


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    pq.write_table(pa.table({"model": ["m"]}), tmp_path / "s" / "samples" / "part-00000099.parquet")
    with pytest.raises(InputError, match=r"part-00000099\.parquet: lacks the column 'entropies'"):
        store.counts("base")


def test_bad_files_can_be_skipped_and_listed(tmp_path: Path) -> None:
    whole = filled(tmp_path / "s")
    with whole.writer() as writer:
        writer.add_samples([sample(problem(0), 50)])
    bad = max((tmp_path / "s" / "samples").iterdir())
    bad.write_bytes(b"PAR1")
    store = Store.open(tmp_path / "s", skip_bad=True)
    assert sum(row.n + row.undecided for row in store.counts("base")) == 6
    assert [(found.path, found.why) for found in store.bad_parts()] == [
        (bad, "truncated or not a parquet file (4 bytes)")
    ]


def test_deleting_the_file_mends_the_store(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    bad = part(store, "verdicts")
    bad.write_bytes(b"")
    with pytest.raises(InputError):
        store.counts("base")
    bad.unlink()
    assert sum(row.unverified for row in store.counts("base")) == 6


def test_half_written_files_are_not_read_and_the_next_writer_removes_them(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    before = store.counts("base")
    leftovers = [store.path / table / "part-00000077.parquet.tmp" for table in ("problems", "samples", "verdicts")]
    leftovers += [store.path / "models" / "x.json.tmp", store.path / "samplers" / "x.json.tmp"]
    for path in leftovers:
        path.write_bytes(b"PAR1 half")
    (store.path / "samples" / "README").write_text("not a part")
    assert Store.open(tmp_path / "s").counts("base") == before
    assert len(store.models()) == 1 and len(store.samplers()) == 1
    with store.writer():
        assert [path for path in leftovers if path.exists()] == []
    assert (store.path / "samples" / "README").exists()


def test_numbers_go_on_over_all_tables(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    names = sorted(path.name for path in store.path.rglob("*.parquet"))
    assert names == [f"part-{i:08d}.parquet" for i in (1, 2, 3)]
    with store.writer() as writer:
        writer.add_samples([sample(problem(0), 9)])
    assert (store.path / "samples" / "part-00000004.parquet").is_file()
    assert next_number([store.path / "samples", store.path / "nowhere"]) == 5


def test_parts_of_other_writers_names_are_read(tmp_path: Path) -> None:
    """Rank-named parts, and files somebody copied in under a name of their own."""
    store = filled(tmp_path / "s", count=1, n=1)
    with store.writer() as writer:
        writer.add_samples([sample(problem(0), i) for i in (5, 6)])
    newest = max((store.path / "samples").iterdir())
    newest.rename(newest.with_name("part-00000009-rank3.parquet"))
    assert store.have("m", sample(problem(0), 0).sampler, 0) == {problem(0).id: {0, 5, 6}}
    assert next_number([store.path / "samples"]) == 10
    newest.with_name("part-00000009-rank3.parquet").rename(newest.with_name("mine.parquet"))
    assert store.have("m", sample(problem(0), 0).sampler, 0) == {problem(0).id: {0, 5, 6}}

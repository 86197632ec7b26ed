"""Checksums of a checkpoint reach into its folders."""

from __future__ import annotations

from pathlib import Path

from offleash.store.checkpoints import damage, write_checksums


def test_files_in_folders_are_summed_too(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"right")
    (tmp_path / "config.json").write_text("{}")
    write_checksums(tmp_path)
    assert damage(tmp_path) == ""
    (tmp_path / "adapter" / "weights").write_bytes(b"wrong")
    assert damage(tmp_path) == "adapter/weights is not as it was written (checksum)"
    (tmp_path / "adapter" / "weights").unlink()
    assert damage(tmp_path) == "adapter/weights cannot be read (No such file or directory)"

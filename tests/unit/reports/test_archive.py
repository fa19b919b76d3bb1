"""Copies of reports on disk: whole or not at all."""

import stat
from datetime import date
from pathlib import Path

import pytest

from dmarcmilter.reports import archive

DAY = date(2027, 1, 16)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_for_each_day(tmp_path):
    archive.write(str(tmp_path / "a"), DAY, "x.xml.gz", b"one")
    archive.write(str(tmp_path / "a"), date(2027, 1, 17), "x.xml.gz", b"two")
    assert files(tmp_path) == ["a/2027-01-16/x.xml.gz", "a/2027-01-17/x.xml.gz"]
    assert (tmp_path / "a/2027-01-17/x.xml.gz").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "a/2027-01-16").stat().st_mode) & 0o027 == 0


def test_no_archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive.write("", DAY, "x.xml.gz", b"one")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_there_is_replaced(tmp_path):
    for content in (b"one", b"two"):
        archive.write(str(tmp_path), DAY, "x.xml.gz", content)
    assert files(tmp_path) == ["2027-01-16/x.xml.gz"]
    assert (tmp_path / "2027-01-16/x.xml.gz").read_bytes() == b"two"


def test_a_full_disk_leaves_the_earlier_copy_whole(tmp_path, monkeypatch):
    archive.write(str(tmp_path), DAY, "x.xml.gz", b"one")
    real = Path.write_bytes

    def half(self, data):
        real(self, data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        archive.write(str(tmp_path), DAY, "x.xml.gz", b"two")
    assert (tmp_path / "2027-01-16/x.xml.gz").read_bytes() == b"one"

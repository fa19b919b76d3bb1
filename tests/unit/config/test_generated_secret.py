"""A secret key in a file: made once, for its owner alone, and never in place of one that others use."""

import os
import stat
from pathlib import Path

import pytest

from dmarcmilter.config import generated_secret
from dmarcmilter.config.generated_secret import KEY_BYTES

WITHOUT = "draws differ after a restart"


def secret(path, *, keep=True):
    return generated_secret.secret(path, keep=keep, without=WITHOUT)


def test_a_key_is_made_once_for_the_owner_only(tmp_path):
    path = tmp_path / "state" / "key"
    first = secret(path)
    assert len(first) == KEY_BYTES
    assert path.read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o027 == 0
    assert secret(path) == first
    assert [entry.name for entry in path.parent.iterdir()] == ["key"], "no draft is left"


def test_each_file_has_its_own_key(tmp_path):
    assert len({secret(tmp_path / name) for name in "abc"}) == 3


def test_a_key_of_the_operator_is_used_whole(tmp_path):
    (tmp_path / "key").write_bytes(b"x" * 50)
    assert secret(tmp_path / "key") == b"x" * 50


@pytest.mark.parametrize("length", [0, KEY_BYTES - 1])
def test_a_key_that_is_too_short_is_replaced(length, tmp_path, caplog):
    path = tmp_path / "key"
    path.write_bytes(b"x" * length)
    assert secret(path) == path.read_bytes()
    assert len(path.read_bytes()) == KEY_BYTES
    assert f"{path}: too short" in caplog.text


def test_a_key_that_is_not_to_be_kept_leaves_no_file(tmp_path):
    assert len(secret(tmp_path / "folder" / "key", keep=False)) == KEY_BYTES
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_not_replaced(tmp_path, monkeypatch, caplog):
    """It may be the key that other servers use."""
    path = tmp_path / "key"
    path.write_bytes(b"x" * KEY_BYTES)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert secret(path) != b"x" * KEY_BYTES
    assert path.read_bytes() == b"x" * KEY_BYTES
    assert f"{path}: Permission denied; {WITHOUT}" in caplog.text


@pytest.mark.parametrize("where", ["file/key", "folder"])
def test_a_key_that_cannot_be_written_is_a_warning(where, tmp_path, caplog):
    """A full disk or a wrong owner must not keep the filter from starting."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    assert len(secret(tmp_path / where)) == KEY_BYTES
    assert WITHOUT in caplog.text


def test_a_disk_that_is_full_leaves_the_old_key(tmp_path, monkeypatch, caplog):
    path = tmp_path / "key"
    path.write_bytes(b"short")

    def full(self, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert len(secret(path)) == KEY_BYTES
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path], "no draft is left"
    assert os.strerror(28) in caplog.text

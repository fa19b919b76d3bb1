"""What an administrator is told of a conf file with an error: the whole message, from the file to what to write."""

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load as config
from dmarcmilter.config import type_errors
from dmarcmilter.config.load import ConfigError, load, parse, read
from dmarcmilter.config.schema import Config
from dmarcmilter.dmarc.public_suffix import SuffixListError
from dmarcmilter.value import Value
from tests.support.cases import case_table

ROWS = case_table("conf_errors")["row"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_message(row, tmp_path):
    path = tmp_path / "f.toml"
    path.write_bytes(row["text"].encode())
    with pytest.raises(ConfigError) as raised:
        load(str(path))
    assert str(raised.value) == f"{path}: {row['message']}"
    done = CliRunner().invoke(main, ["config", "check", str(path)])
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"dmarcmilter: {path}: {row['message']}\n")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_message_is_the_same_with_a_byte_order_mark_and_crlf(row, tmp_path):
    if "\r" in row["text"]:
        pytest.skip("the lines end with CR")
    path = tmp_path / "f.toml"
    path.write_bytes(b"\xef\xbb\xbf" + row["text"].replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError) as raised:
        load(str(path))
    assert str(raised.value) == f"{path}: {row['message']}"


def test_names_of_the_rows_are_different():
    assert len({row["name"] for row in ROWS}) == len(ROWS)


def test_no_message_shows_a_password():
    rows = [row for row in ROWS if "secret" in row["text"]]
    assert len(rows) > 1
    assert not [row for row in rows if "secret" in row["message"]]


ENCODED = {
    "Latin-1": ("# ä\n[policy]\n# café".encode("latin-1"), "line 1, column 3: the byte 0xe4 is not UTF-8; "),
    "Latin-1 after UTF-8": (b"[policy]\n# \xc3\xa4 caf\xe9\n", "line 2, column 8: the byte 0xe9 is not UTF-8; "),
    "Shift_JIS": ("[policy]\n# 設定".encode("shift_jis"), "line 2, column 3: the byte 0x90 is not UTF-8; "),
    "EUC-JP": ("# 設定\n".encode("euc-jp"), "line 1, column 3: the byte 0xc0 is not UTF-8; "),
    "UTF-16": ('[policy]\nmode = "enforce"\n'.encode("utf-16"), "the file is UTF-16 or no text at all; "),
    "UTF-16 without a mark": ("[policy]\n".encode("utf-16-le"), "the file is UTF-16 or no text at all; "),
    "no text": (bytes(range(256)), "the file is UTF-16 or no text at all; "),
    "too large": (b"#" * (config.MAX_BYTES + 1), f"larger than {config.MAX_BYTES} bytes"),
}


@pytest.mark.parametrize(("raw", "message"), ENCODED.values(), ids=ENCODED)
def test_what_is_not_utf8(tmp_path, raw, message):
    path = tmp_path / "f.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as raised:
        load(str(path))
    assert str(raised.value).startswith(f"{path}: {message}")
    if message.endswith("; "):
        assert str(raised.value).endswith("; save the file as UTF-8" if "byte" in message else "; save it as UTF-8")


def test_files_that_cannot_be_read(tmp_path):
    for path, message in ((tmp_path / "none", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError) as raised:
            load(str(path))
        assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize("text", [f"a = {'[' * 5000}", "[milter]\nworkers = " + "9" * 5000])
def test_what_is_too_much_for_the_reader(text):
    with pytest.raises(ConfigError, match=r"^conf: (a value is too long, or nested too deeply|line 2)"):
        parse(text)


def test_an_error_of_a_file_that_the_conf_names_has_its_line(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text('[policy]\nmode = "enforce"\n\n[dmarc]\npsl_file = "/none"\n')
    error = ConfigError(f"[dmarc] psl_file: {SuffixListError('no list')}")
    assert str(read(str(path)).located(error)) == f"{path}: line 5, column 1: [dmarc] psl_file: no list"
    assert str(read("").located(error)) == "[dmarc] psl_file: no list"


def test_every_number_with_a_decimal_point_is_seconds():
    """The messages say so."""
    names = [
        name
        for hint in Config.__annotations__.values()
        if isinstance(hint, type) and issubclass(hint, Value)
        for name, kind in hint.__annotations__.items()
        if kind is float
    ]
    assert len(names) > 6
    assert all(type_errors.expected(float, name, 1.0).startswith("a number in seconds") for name in names)
    assert set(names) <= {
        *("drain_timeout", "timeout", "message_budget", "unaligned_budget", "cap", "cache_seconds"),
        *("verify_budget", "verification_budget"),
    }

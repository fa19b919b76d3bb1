"""`dmarcmilter config from-opendmarc`."""

import os

from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load

FILES = {
    "hosts": b"# ours\nlocalhost\n192.0.2.0/24\n!192.0.2.128/25\n2001:db8::/32\n198.51.100.7 # one\n\n"
    b"mail.example.net\n.example.org\n",
    "locals": b"LocalHost\nip6-localhost.\n[::1]\n!127.0.0.0/8\n[2001:db8::]/32 # out\n!2001:db8::/32\n",
    "whitelist": b"hop.example\n# no more\nLIST.example\n",
    "noreports": b"dmarc@example.com\nexample.org\n",
}


def run(*arguments):
    return CliRunner().invoke(main, ["config", "from-opendmarc", *arguments], catch_exceptions=False)


def test_command(tmp_path):
    source = tmp_path / "opendmarc.conf"
    source.write_text(f"RejectFailures true\nIgnoreHosts {tmp_path}/hosts\nCopyFailuresTo a@b.example\nWhat ever\n")
    (tmp_path / "hosts").write_bytes(FILES["hosts"])
    printed = run(str(source))
    assert printed.exit_code == 0
    assert load.parse(printed.stdout).ignore.networks[0] == "127.0.0.0/8"
    target = tmp_path / "our.toml"
    told = run(str(source), "-o", str(target), "--socket", "local:/run/d/d.sock")
    assert told.exit_code == 0
    assert "3 taken over, 0 not needed, 1 not supported, 1 not understood" in told.stdout
    assert "note: CopyFailuresTo" in told.stdout
    assert load.load(str(target)).milter.socket == "unix:/run/d/d.sock"
    checked = CliRunner().invoke(main, ["config", "check", str(target)], catch_exceptions=False)
    assert f"{target}: valid" in checked.stdout


def test_command_refuses(tmp_path):
    source = tmp_path / "opendmarc.conf"
    source.write_text("Syslog true\n")
    assert run(str(tmp_path / "none")).exit_code == 2
    assert run(str(tmp_path)).exit_code == 2
    existing = run(str(source), "-o", str(source))
    assert existing.exit_code == 2
    assert source.read_text() == "Syslog true\n"
    assert "--socket" in run(str(source), "--socket", "nonsense").stderr
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert run(str(pipe)).exit_code == 2
    source.write_text(f"IgnoreHosts {pipe}\n")
    assert "cannot be read" in run(str(source)).stdout

"""The commands that read a conf file, as processes."""

from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load as config
from dmarcmilter.config.load import read


def test_a_byte_order_mark_is_passed_over_and_told(tmp_path):
    path = tmp_path / "f.toml"
    path.write_bytes('\ufeff[policy]\nmode = "enforce"\n'.encode())
    found = read(str(path))
    assert (found.config.policy.mode, found.warnings) == ("enforce", (config.BYTE_ORDER_MARK,))
    done = CliRunner().invoke(main, ["config", "check", str(path)])
    assert f"warning: {config.BYTE_ORDER_MARK}\n" in done.stdout


def test_check_and_show_without_a_file_take_the_default_path(tmp_path, monkeypatch):
    path = tmp_path / "dmarcmilter.toml"
    path.write_text("[policy]\nmod = 1\n")
    monkeypatch.setattr(config, "DEFAULT_PATH", str(path))
    message = f"dmarcmilter: {path}: line 2, column 1: [policy]: unknown key mod; the nearest known is mode\n"
    for command in ("check", "show"):
        done = CliRunner().invoke(main, ["config", command])
        assert (done.exit_code, done.stderr) == (2, message)
    path.write_text('[policy]\nmode = "enforce"\n')
    assert CliRunner().invoke(main, ["config", "check"]).stdout.splitlines()[-1].startswith(f"{path}: valid")
    assert 'mode = "enforce"' in CliRunner().invoke(main, ["config", "show"]).stdout
    path.unlink()
    done = CliRunner().invoke(main, ["config", "check"])
    assert (done.exit_code, done.stderr) == (2, f"dmarcmilter: {path}: no such file or directory\n")

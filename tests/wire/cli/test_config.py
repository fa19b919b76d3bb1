"""`dmarcmilter config check`, which tries whether name servers can be reached."""

from tests.support.commands import run, write_conf


def config_check(tmp_path, path):
    """Without the Postfix and the unit of this machine."""
    return run("config", "check", "--postfix", str(tmp_path), "--user", "", path)


def test_config_check(tmp_path):
    conf = write_conf(tmp_path, 53)
    result = config_check(tmp_path, conf)
    assert (result.exit_code, result.stdout.splitlines()[-1].startswith(f"{conf}: valid")) == (0, True)
    warned = write_conf(tmp_path, 53, 'mode = "monitor"\n')
    result = config_check(tmp_path, warned)
    assert result.exit_code == 0
    assert result.stdout.startswith('warning: [policy] mode is "monitor"')
    assert "warnings" in result.stdout.splitlines()[-1]
    assert "ok: [policy] mode in force: monitor (no policy is enforced)\n" in result.stdout
    enforcing = write_conf(tmp_path, 53, 'mode = "enforce"\nrollout_percent = 5\n')
    result = config_check(tmp_path, enforcing)
    assert "ok: [policy] mode in force: enforce for 5 % of messages\n" in result.stdout
    assert "mode is not written" not in result.stdout


def test_config_check_warns_where_the_mode_is_not_written(tmp_path):
    conf = write_conf(tmp_path, 53)
    result = config_check(tmp_path, conf)
    assert result.exit_code == 0
    assert 'warning: [policy] mode is not written, so the default applies, which has changed from "enforce"' in (
        result.stdout
    )


def test_config_check_refuses(tmp_path):
    result = run("config", "check", write_conf(tmp_path, 53, "mod = 1\n"))
    assert result.exit_code == 2
    assert "unknown key mod; the nearest known is mode" in result.stderr
    assert run("config", "check", str(tmp_path / "none.toml")).exit_code == 2

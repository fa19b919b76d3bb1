"""`dmarcmilter run`."""

from dmarcmilter.daemon import supervisor
from tests.support.commands import run


def test_run_starts_the_daemon_and_ends_with_its_exit_status(monkeypatch):
    started = []
    monkeypatch.setattr(supervisor, "serve", lambda path: started.append(path) or 7)
    assert run("run", "--config", "f.toml").exit_code == 7
    assert run("run").exit_code == 7
    assert started == ["f.toml", ""]

"""`dmarcmilter demo`: the conf that it keeps. (The show itself: wire/demo.)"""

import pytest

from dmarcmilter.cli import demo
from dmarcmilter.cli.demo import STATE_CONF, socket_for_postfix
from dmarcmilter.config import load
from dmarcmilter.daemon import supervisor
from tests.support.commands import run


@pytest.mark.parametrize(
    ("socket", "postfix"),
    [
        ("inet:8893@127.0.0.1", "inet:127.0.0.1:8893"),
        ("inet6:8893@::1", "inet:[::1]:8893"),
        ("unix:/run/f.sock", "unix:/run/f.sock"),
    ],
)
def test_demo_names_the_socket_as_postfix_does(socket, postfix, tmp_path):
    path = tmp_path / "conf.toml"
    path.write_text(STATE_CONF.format(socket=socket, state=tmp_path), encoding="utf-8")
    assert socket_for_postfix(path) == postfix


@pytest.fixture
def served(monkeypatch):
    """The conf files that a filter was started with, none of them really."""
    started = []
    monkeypatch.setattr(supervisor, "serve", lambda path: started.append(path) or 7)
    monkeypatch.setattr(demo, "show", lambda: None)
    return started


def test_demo_ends_after_the_show(served):
    assert run("demo").exit_code == 0
    assert served == []


def test_demo_that_stays_keeps_its_conf(served, tmp_path):
    state = tmp_path / "new" / "state"
    arguments = ["demo", "--stay", "--state", str(state), "--socket", "inet:8899@127.0.0.1"]
    result = run(*arguments)
    assert result.exit_code == 7
    assert "smtpd_milters = inet:127.0.0.1:8899" in result.stdout
    conf = state / "dmarcmilter.toml"
    assert served == [str(conf)]
    assert load.load(str(conf)).history.journal == f"{state}/journal"
    conf.write_text(conf.read_text(encoding="utf-8").replace("8899", "8900"), encoding="utf-8")
    assert "127.0.0.1:8900" in run(*arguments).stdout

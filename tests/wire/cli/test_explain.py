"""`dmarcmilter explain` of a message that a running filter refused."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.mail import message_id_hash


@pytest.fixture
def conf(tmp_path):
    return write_conf(tmp_path)


def write_conf(tmp_path, more="", name="c.toml"):
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / name
    path.write_text(
        f'{more}\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n[history]\njournal = "{tmp_path}/journal"\n'
        f'database = "sqlite:///{tmp_path}/h.db"\n[policy]\nsampling_key = "{tmp_path}/key"\n',
        encoding="utf-8",
    )
    return str(path)


def run(*arguments, **environment):
    environment = {"LC_ALL": "C.UTF-8"} | environment
    return CliRunner().invoke(main, arguments, catch_exceptions=False, env=environment)


def explain(conf, *arguments, **environment):
    return run("explain", "--config", conf, *arguments, **environment)


def matches(result):
    return json.loads(result.stdout)["matches"]


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    """The conf file of a filter that has judged one forged message."""
    from dmarcmilter.demo import sample_messages, show
    from dmarcmilter.testing.milter_client import MilterClient
    from dmarcmilter.testing.name_server import NameServer

    state = tmp_path_factory.mktemp("s")
    forged = next(sample for sample in sample_messages.samples() if sample.title == "forged, p=reject")
    with NameServer(sample_messages.zone()) as server:
        conf = show.write_conf(state, server.port)
        with show.running(conf, state / "demo.sock"), MilterClient(f"unix:{state}/demo.sock") as client:
            message = b"Message-ID:\r\n <lost.1@bank.example>\r\n" + forged.message
            show._deliver(client, 1, replace(forged, message=message))
    return str(conf)


def test_a_message_that_the_filter_refused(filtered):
    (match,) = matches(explain(filtered, "lost.1@bank.example", "--json"))
    queue_id = match["record"]["queue_id"]
    assert len(match["record"]["message_id_hash"]) == message_id_hash.DIGITS
    assert "lost.1" not in json.dumps(match["record"])
    for identifier in (queue_id, "<lost.1@bank.example>"):
        printed = explain(filtered, identifier, "--lang", "ja").stdout
        assert "ヘッダー From のドメインは bank.example です。" in printed
        assert "このメールの扱いは「拒否」です。" in printed

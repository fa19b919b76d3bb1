"""`dmarcmilter explain` of a message that a running filter refused."""

import json

import pytest

from dmarcmilter.mail import message_id_hash
from dmarcmilter.value import replace
from tests.support.explain_command import explain, matches, run, write_conf


@pytest.fixture
def conf(tmp_path):
    return write_conf(tmp_path)


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


def test_replay_of_what_the_filter_wrote(filtered):
    found = run("replay", "--config", filtered, "--since", "1d", "--json")
    assert (found.exit_code, json.loads(found.stdout)["changed"], json.loads(found.stdout)["gaps"]) == (0, 0, {})

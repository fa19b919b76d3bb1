"""What is read from the output of postconf(1): milters, times, services and whose mail they receive."""

import pytest

from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.postfix import postconf


@pytest.mark.parametrize(
    ("milter", "ours", "chrooted", "same"),
    [
        ("unix:dm/s", "unix:/q/dm/s", True, True),
        ("unix:/dm/s", "unix:/q/dm/s", True, True),
        ("unix:/q/dm/s", "unix:/q/dm/s", True, False),
        ("unix:/q/dm/s", "unix:/q/dm/s", False, True),
        ("unix:dm/s", "unix:/q/dm/s", False, True),
        ("unix:/dm/s", "unix:/q/dm/s", False, False),
        ("inet:localhost:8893", "inet:8893@127.0.0.1", False, True),
        ("inet:127.0.0.1:8893", "inet:8893@127.0.0.1", False, True),
        ("inet:127.0.0.1:8894", "inet:8893@127.0.0.1", False, False),
        ("inet:127.0.0.2:8893", "inet:8893@127.0.0.1", False, False),
        ("inet:192.0.2.1:8893", "inet:8893@0.0.0.0", False, True),
        ("inet:[::1]:8893", "inet6:8893@::1", False, True),
        ("inet:localhost:8893", "inet:8893@192.0.2.1", False, False),
        ("inet:mx.example.net:8893", "inet:8893@192.0.2.1", False, True),
        ("unix:dm/s", "inet:8893@127.0.0.1", False, False),
        ("inet:localhost:8893", "unix:/q/s", False, False),
        ("nonsense", "unix:/q/s", False, False),
    ],
)
def test_addresses_that_lead_to_our_socket(milter, ours, chrooted, same):
    assert postconf.leads_to(milter, parse_socket(ours), "/q", chrooted=chrooted) == same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("unix:a, inet:h:1", ("unix:a", "inet:h:1")),
        ("{ unix:a, connect_timeout=5s } inet:h:1", ("unix:a", "inet:h:1")),
        ("{unix:a,default_action=accept},{inet:h:1}", ("unix:a", "inet:h:1")),
        ("{{{", ()),
        ("{}", ()),
    ],
)
def test_milter_names(text, expected):
    assert postconf.milter_names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("300s", 300), ("5m", 300), ("2", 2), ("1h", 3600), ("x", None), ("", None)]
)
def test_seconds(text, expected):
    assert postconf.seconds(text) == expected


def test_a_postfix_that_cannot_be_asked(tmp_path):
    assert postconf.find(str(tmp_path)) is None

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.config.endpoint import MAX_SOCKET_PATH, Socket, parse_nameserver, parse_socket

SOCKETS = [
    ("unix:/run/f.sock", Socket("unix", path="/run/f.sock")),
    ("local:/run/f.sock", Socket("unix", path="/run/f.sock")),
    ("unix:/with:colon@and", Socket("unix", path="/with:colon@and")),
    ("unix:/" + "x" * (MAX_SOCKET_PATH - 1), Socket("unix", path="/" + "x" * (MAX_SOCKET_PATH - 1))),
    ("inet:8893@127.0.0.1", Socket("inet", host="127.0.0.1", port=8893)),
    ("inet6:8893@::1", Socket("inet6", host="::1", port=8893)),
    ("inet6:8893@[::1]", Socket("inet6", host="::1", port=8893)),
    ("inet:65535@0.0.0.0", Socket("inet", host="0.0.0.0", port=65535)),
]
NOT_SOCKETS = [
    "",
    "unix",
    "unix:relative",
    "unix:/" + "x" * MAX_SOCKET_PATH,
    "/run/f.sock",
    "inet:8893",
    "inet:0@127.0.0.1",
    "inet:65536@127.0.0.1",
    "inet:-1@127.0.0.1",
    "inet:\u00b2@127.0.0.1",
    "inet:8893@localhost",
    "inet:8893@::1",
    "inet6:8893@127.0.0.1",
    "inet:8893@",
    "tcp:8893@127.0.0.1",
]
NAMESERVERS = [
    ("192.0.2.1", ("192.0.2.1", 53)),
    ("192.0.2.1:5353", ("192.0.2.1", 5353)),
    ("::1", ("::1", 53)),
    ("2001:DB8::1", ("2001:db8::1", 53)),
    ("[::1]", ("::1", 53)),
    ("[::1]:5353", ("::1", 5353)),
    ("[::ffff:192.0.2.1]:53", ("::ffff:c000:201", 53)),
]
NOT_NAMESERVERS = [
    "",
    "localhost",
    "192.0.2.256",
    "192.0.2",
    "192.0.2.1:",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "192.0.2.1:123456",
    "[::1",
    "[::1]:0",
    "[192.0.2.1.5]",
    ":::1",
    "192.0.2.1 ",
    "192.0.2.1\n",
]


@pytest.mark.parametrize(("text", "expected"), SOCKETS)
def test_socket(text, expected):
    assert parse_socket(text) == expected


@pytest.mark.parametrize("text", NOT_SOCKETS)
def test_not_a_socket(text):
    with pytest.raises(ValueError):
        parse_socket(text)


@pytest.mark.parametrize(("text", "expected"), NAMESERVERS)
def test_nameserver(text, expected):
    assert parse_nameserver(text) == expected


@pytest.mark.parametrize("text", NOT_NAMESERVERS)
def test_not_a_nameserver(text):
    with pytest.raises(ValueError):
        parse_nameserver(text)


TEXT = st.text(st.sampled_from("unixet6lca:/@[]0123456789.\u0663\u00b2 fd"), max_size=30)


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_only_value_error(text):
    for parser in (parse_socket, parse_nameserver):
        with contextlib.suppress(ValueError):
            parser(text)

"""Commands about Postfix's hold queue, run as processes."""

import json
import os
from datetime import UTC, datetime

import pytest

from dmarcmilter.postfix.hold_queue import Held, PostfixQueue, QueueError

ENTRY = {
    "queue_name": "hold",
    "queue_id": "3F4C1A0B2D",
    "arrival_time": 1_800_000_000,
    "message_size": 1234,
    "sender": "x@\u001b]0;pwned\u0007.example",
    "recipients": [{"address": "a@b.example"}, {"address": "c@b.example"}],
}


@pytest.fixture
def postfix(tmp_path, monkeypatch):
    """Commands of these names that say what is wanted, and note how they were called."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(program, says=b"", status=0, error=""):
        (tmp_path / f"{program}.says").write_bytes(says)
        script = tmp_path / program
        script.write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/{program}.called\n[ "$1" = -j ] || cat >>{tmp_path}/{program}.given\n'
            f"cat {tmp_path}/{program}.says\nprintf '%s' '{error}' >&2\nexit {status}\n"
        )
        script.chmod(0o755)
        return lambda name: (tmp_path / f"{program}.{name}").read_text()

    return install


def lines(*entries):
    return b"".join(json.dumps(ENTRY | entry).encode() + b"\n" for entry in entries)


def test_what_is_held(postfix):
    postfix(
        "postqueue",
        lines(
            {"queue_id": "4Z9abcdefgHIJk", "arrival_time": 1_800_000_100},
            {},
            {"queue_name": "deferred"},
            {"queue_id": "ALL"},
            {"queue_id": "-d"},
            {"queue_id": "a b c d e"},
            {"queue_id": 5},
            {"arrival_time": 1e300},
            {"arrival_time": "now"},
            {"recipients": None},
        )
        + b'{"queue_name": "hold"\n["hold"]\n"hold"\n\xff"hold"\n',
    )
    assert PostfixQueue().held() == [
        Held("3F4C1A0B2D", datetime.fromtimestamp(1_800_000_000, UTC), 1234, 2),
        Held("4Z9abcdefgHIJk", datetime.fromtimestamp(1_800_000_100, UTC), 1234, 2),
    ]


def test_ids_go_in_by_standard_input_and_only_ids(postfix):
    queue, superuser = postfix("postqueue", lines({})), postfix("postsuper")
    released = PostfixQueue("/etc/postfix-two").release(["ABCDE12345", "ALL", "-d", "x\ny", "3F4C1A0B2D"])
    assert superuser("called") == "-c /etc/postfix-two -H -\n"
    assert superuser("given") == "3F4C1A0B2D\nABCDE12345\n"
    assert released == {"ABCDE12345"}  # the other is still there
    assert queue("called") == "-c /etc/postfix-two -j\n-c /etc/postfix-two -i ABCDE12345\n"


def test_only_what_is_on_hold_is_deleted(postfix):
    postfix("postqueue"), (superuser := postfix("postsuper"))
    assert PostfixQueue().delete(["ABCDE12345"]) == {"ABCDE12345"}
    assert superuser("called") == "-d - hold\n"


def test_commands_that_fail(postfix, monkeypatch):
    postfix("postqueue", status=1, error="postqueue: fatal: \033[2J no")
    with pytest.raises(QueueError, match=r"^postqueue: postqueue: fatal: \\x1b\[2J no$"):
        PostfixQueue().held()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("dmarcmilter.postfix.hold_queue.SYSTEM_PATHS", ())
    with pytest.raises(QueueError, match="is Postfix installed"):
        PostfixQueue().held()

"""Texts that are sent to clients or written into mail: what a reply and a header field can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.config.schema import Config
from dmarcmilter.config.text_validation import MAX_TAG, MAX_TEXT, MAX_VALUE, PLACEHOLDERS, problem
from dmarcmilter.policy.rules import QuarantineAction
from dmarcmilter.response.reply_templates import MAX_QUEUE_ID, MAX_REPLY, SEE
from dmarcmilter.value import replace

POLICY, QUARANTINE = Config().policy, Config().quarantine


def of_policy(**keys):
    return problem(replace(POLICY, **keys), QUARANTINE)


def of_quarantine(**keys):
    return problem(POLICY, replace(QUARANTINE, **keys))


def test_the_defaults_are_valid():
    assert problem(POLICY, QUARANTINE) == ""


@pytest.mark.parametrize("key", ["reject_text", "author_text", "defer_text"])
def test_a_text_of_a_reply(key):
    assert of_policy(**{key: "".join(f"{{{name}}}" for name in PLACEHOLDERS)}) == ""
    assert of_policy(**{key: "x" * MAX_TEXT}) == ""
    wrong = {
        "x" * (MAX_TEXT + 1): f"at most {MAX_TEXT} characters",
        "a\r\n250 OK": "one line of ASCII text",
        "gr\u00fc\u00dfe": "one line of ASCII text",
        "a\tb": "one line of ASCII text",
        "": "must say something",
        "  ": "must say something",
        "{sender}": "unknown placeholder ['sender']",
        "{domain.__class__}": "unknown placeholder",
        "{}": "unknown placeholder",
    }
    for text, words in wrong.items():
        assert of_policy(**{key: text}).startswith(f"[policy] {key}: {words}"), text


def test_a_reply_has_room_for_the_page_and_the_queue_id():
    page_room = MAX_REPLY - MAX_QUEUE_ID - len(SEE.replace("{info_url}", ""))
    page = "https://" + "p" * 192
    text = "x" * (page_room - len(page))
    assert of_policy(reject_text=text, info_url=page) == ""
    assert "too long together with info_url" in of_policy(reject_text=text, info_url=page + "p")


def test_the_page_that_explains():
    assert of_policy(info_url="https://a.example/?d={domain}&q={queue_id}") == ""
    assert of_policy(info_url="https://a.example/{reason}").startswith("[policy] info_url: unknown placeholder")
    assert of_policy(info_url="https://a.example/a b") == "[policy] info_url: no spaces"


@pytest.mark.parametrize("name", ["X-A", "X-DMARC-Quarantine", "X-" + "a" * 60])
def test_names_of_the_mark(name):
    assert of_quarantine(header_name=name) == ""


@pytest.mark.parametrize(
    "name", ["", "X-", "DMARC", "Subject", "X-A:", "X-A B", "X-\u00e4", "X-" + "a" * 61, "X-Spam-Flag", "x-a", "X-SPAM"]
)
def test_names_that_are_no_mark(name):
    """Incoming fields of this name are removed, so no other program may use it."""
    assert of_quarantine(header_name=name).startswith("[quarantine] header_name: ")


def test_the_value_of_the_mark():
    assert of_quarantine(header_value="v" * MAX_VALUE) == ""
    for value in ("", " yes", "yes ", "y\r\nBcc: x", "\u00e4", "v" * (MAX_VALUE + 1)):
        assert of_quarantine(header_value=value).startswith("[quarantine] header_value: "), value


def test_the_tag_of_the_subject():
    assert of_quarantine(subject_tag="\u3042" * (MAX_TAG // 3)) == ""
    wrong = {
        "": "printable characters",
        "[a] ": "printable characters",
        "a\nb": "printable characters",
        "\u202e[gat]": "printable characters",
        "=?utf-8?q?x?=": "write it as text",
        "x" * (MAX_TAG + 1): f"at most {MAX_TAG} bytes",
        "\u3042" * (MAX_TAG // 3 + 1): f"at most {MAX_TAG} bytes",
    }
    for tag, words in wrong.items():
        assert of_quarantine(subject_tag=tag).startswith(f"[quarantine] subject_tag: {words}"), tag


def test_the_mailbox():
    redirecting = replace(POLICY, quarantine_action=QuarantineAction.REDIRECT)
    assert problem(redirecting, replace(QUARANTINE, mailbox="q@example.net")) == ""
    assert "needs the address of the quarantine mailbox" in problem(redirecting, replace(QUARANTINE, mailbox=""))
    for mailbox in (
        "q",
        "@example.net",
        "q@",
        "a b@example.net",
        "<q@example.net>",
        "q@x@example.net",
        '"q"@example.net',
    ):
        assert of_quarantine(mailbox=mailbox).endswith("is not an address"), mailbox


@given(st.text(max_size=60))
def test_any_text_gets_an_answer_of_one_line(text):
    for wrong in (of_policy(reject_text=text), of_policy(info_url=text), of_quarantine(subject_tag=text, mailbox=text)):
        assert "\n" not in wrong

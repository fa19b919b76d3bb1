"""What config check says of Postfix's milter settings."""

import pytest

from dmarcmilter.config_check import mta
from dmarcmilter.value import replace
from tests.support.config_check import INSIDE, POSTFIX, SCENE, said


@pytest.fixture(autouse=True)
def _no_postfix(monkeypatch, tmp_path):
    monkeypatch.setattr(mta, "POSTFIX_QUEUE", str(tmp_path / "nowhere"))


def test_what_fits():
    assert said(INSIDE) == []
    assert said(INSIDE, live=True) == []
    assert said('socket = "inet:8893@127.0.0.1"') == []


@pytest.mark.parametrize(("value", "fine"), [("6", True), ("7", True), ("2", False), ("", False), ("x", False)])
def test_protocol(value, fine):
    assert (said(INSIDE, replace(SCENE, postfix=replace(POSTFIX, protocol=value)), live=True) == []) == fine


@pytest.mark.parametrize(("value", "fine"), [("yes", True), ("", True), ("no", False)])
def test_redirection_needs_original_recipients(value, fine):
    environment = replace(SCENE, postfix=replace(POSTFIX, main={"enable_original_recipient": value}))
    redirect = '[policy]\nquarantine_action = "redirect"\n[quarantine]\nmailbox = "forged@rcpt.example"'
    found = said(INSIDE, environment, redirect, live=True)
    assert [text for text in found if "enable_original_recipient = yes" in text] == found
    assert (not found) == fine
    assert said(INSIDE, environment, live=True) == []


@pytest.mark.parametrize("name", ["smtp_line_length_limit", "lmtp_line_length_limit"])
@pytest.mark.parametrize(
    ("value", "fine"), [("998", True), ("990", True), ("2048", True), ("0", True), ("512", False), ("4000", False)]
)
def test_lines_are_split_where_the_filter_expects_it(name, value, fine):
    environment = replace(SCENE, postfix=replace(POSTFIX, main={name: value}))
    texts = said(INSIDE, environment, live=True)
    assert [text for text in texts if f"{name} = 998" in text] == texts
    assert (not texts) == fine


@pytest.mark.parametrize(
    ("value", "fine"),
    [("tempfail", True), ("", True), ("accept", False), ("reject", False), ("quarantine", False), ("odd", False)],
)
def test_default_action(value, fine):
    found = said(INSIDE, replace(SCENE, postfix=replace(POSTFIX, default_action=value)), live=True)
    assert (found == []) == fine

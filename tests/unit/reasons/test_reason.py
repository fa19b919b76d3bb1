"""A reason: compared by code and parameters, and rendered where it is needed."""

import pytest

from dmarcmilter.reasons import Code, Language, Reason, text_of

INNER = Reason.of(Code.DNS_RCODE, rcode="SERVFAIL")
OUTER = Reason.of(Code.DNS_LOOKUP_FAILED, rdtype="TXT", name="a.example", reason=INNER)


def test_reasons_are_equal_by_code_and_parameters():
    assert Reason.of(Code.DNS_RCODE, rcode="SERVFAIL") == INNER
    assert hash(Reason.of(Code.DNS_RCODE, rcode="SERVFAIL")) == hash(INNER)
    assert Reason.of(Code.DNS_RCODE, rcode="REFUSED") != INNER


def test_a_reason_cannot_be_changed():
    with pytest.raises(AttributeError):
        INNER.code = Code.INTERNAL_ERROR


def test_the_chain_goes_from_the_outermost_to_the_cause():
    assert list(OUTER.chain()) == [OUTER, INNER]
    assert (OUTER.cause, INNER.cause) == (INNER, INNER)


def test_parameters_by_name():
    assert (OUTER.get("name"), OUTER.get("reason"), OUTER.get("none")) == ("a.example", INNER, None)


def test_text_within_text():
    assert str(OUTER) == OUTER.text() == f"TXT a.example: {INNER}"
    assert INNER.text(Language.JA) in OUTER.text(Language.JA)
    assert (text_of(None), text_of(INNER)) == ("", str(INNER))


def test_braces_of_the_peer_are_text():
    """A parameter comes from mail or DNS; it is never a template."""
    for hostile in ("{name}", "{0.__class__}", "{", "%s"):
        assert hostile in Reason.of(Code.DNS_LOOKUP_FAILED, rdtype="TXT", name=hostile, reason=INNER).text()


def test_people_see_parameters_cleaned_at_every_depth():
    reason = Reason.of(
        Code.DNS_LOOKUP_FAILED, rdtype="\x1b[2J", name="a", reason=Reason.of(Code.DNS_RCODE, rcode="\x1b[31m")
    )
    assert "\x1b" not in reason.explained(Language.EN, lambda value: str(value).replace("\x1b", "?"))
    assert reason.text().count("\x1b") == 2

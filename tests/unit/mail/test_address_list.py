import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.address_list import MAX_MAILBOXES, AddressList, ElementKind, ListElement, parse
from dmarcmilter.reasons import Reason


def mailboxes(body):
    parsed = parse(body)
    assert isinstance(parsed, AddressList), parsed
    return [(mailbox.kind, mailbox.domain) for mailbox in parsed.mailboxes]


def test_kinds():
    body = b'a@b.example, "A" <c@[192.0.2.1]>, <root>, Some Words, d@e.example <f@g.example>,'
    body += b' "H" i@j.example <k@l.example>'
    assert mailboxes(body) == [
        (ElementKind.ADDRESS, b"b.example"),
        (ElementKind.LITERAL, b""),
        (ElementKind.LOCAL, b""),
        (ElementKind.NAME, b""),
        (ElementKind.SHOWN, b"e.example"),
        (ElementKind.ADDRESS, b"g.example"),
        (ElementKind.ADDRESS, b"j.example"),
        (ElementKind.ADDRESS, b"l.example"),
    ]


def test_domain_is_as_written_without_comments():
    assert mailboxes(b"a@ (x) MACHINE (y). Example. ") == [(ElementKind.ADDRESS, b"MACHINE.Example.")]


def test_groups_are_counted():
    parsed = parse(b"A:; , B: a@b.example;")
    assert parsed == AddressList((ListElement(ElementKind.ADDRESS, b"b.example"),), groups=2, lax=False)


@pytest.mark.parametrize(
    ("body", "lax"),
    [
        (b"J. R. Ewing <u@b.example>", False),
        (b"<@a.example:u@b.example>", False),
        (b",a . b @ c.example,", False),
        (b".Net <u@b.example>", True),
        (b"a..b@b.example", True),
        (b"a.@b.example", True),
        (b"<.a@b.example>", True),
        (b"[A] <u@b.example>", True),
        (b"A, B <u@b.example>", True),
        (b"u@b.example <u@b.example>", True),
    ],
)
def test_lax_is_what_no_grammar_allows(body, lax):
    assert parse(body).lax is lax


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no address"),
        (b"a\0", "control character"),
        (b"a@b@c", "two @ in one address"),
        (b"a@", "no clear domain after @"),
        (b"a@[", "malformed domain literal"),
        (b"@a", "misplaced @"),
        (b"G: a@b", "unterminated group"),
        (b"G: H: a@b;", "misplaced colon"),
        (b">", "misplaced special character"),
        (b"a b@c", "words beside an address without angle brackets"),
        (b"<a@b> c", "text after an address"),
        (b"<a b@c>", "no local-part in angle brackets"),
        (b"<a@b", "unclosed angle bracket"),
        (b"<@a,b@c>", "unterminated route"),
        (b'"a <b@c>', "unterminated quote"),
        (b"a@b (c", "unterminated comment"),
        (b'"a@b", c@d', "a name that could be read as an address"),
        (b"(a@b), c@d", "a name that could be read as an address"),
        (b'"a@b" [ <c@d>', "a display name that hides an address"),
        (b'"<"@a', "no clear local-part"),
        (b'<"<"@a>', "no clear local-part"),
        (b"a" * (1024 * 1024 + 1), "field too long"),
        (b"a@b," * (MAX_MAILBOXES + 1), "too many addresses"),
    ],
)
def test_faults(body, reason):
    assert str(parse(body)) == reason


def test_as_many_addresses_as_allowed():
    assert len(mailboxes(b"a@b," * MAX_MAILBOXES)) == MAX_MAILBOXES


@given(st.text('"\\() =?uq@<>,:;[]a.\r\n\0é', max_size=50).map(str.encode) | st.binary(max_size=50))
@settings(max_examples=400, deadline=None)
def test_any_octets_give_a_list_or_a_fault(body):
    parsed = parse(body)
    assert isinstance(parsed, AddressList | Reason)


atoms = st.text("abc-_=!%", min_size=1, max_size=6)
local_parts = atoms | (st.text('ab,;:()[]\\"', max_size=8) | st.text("ab@.", max_size=8)).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
names = st.sampled_from(["", "John ", "J. R. Doe ", '"Doe, <a@x.example>" ', "=?utf-8?q?a=40b?= ", "(a@x.example) "])
domains = st.lists(st.text("abz01-", min_size=1, max_size=5), min_size=1, max_size=4).map(".".join)


@pytest.mark.slow
@given(st.lists(st.tuples(names, local_parts, domains, st.booleans()), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_written_addresses_are_read_back(rows):
    members = [
        f"{name}<{local}@{domain}>" if is_angle else f"(c) {local} (d) @ {domain} (e)"
        for name, local, domain, is_angle in rows
    ]
    body = ",\r\n ".join(members).encode()
    assert mailboxes(body) == [(ElementKind.ADDRESS, domain.encode()) for _, _, domain, _ in rows]

"""The Author Domain of a message (RFC 9989 5.3.1): one domain from its From field, or a named problem.

It is read from the raw field, never from a decoded one. Mail readers differ on every broken form: a field that could
show a person another author than this program reads is a problem, not a domain (RFC 9989 11.5).
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from dmarcmilter.mail import address_list, author_changed_by_sendmail, lenient_readings, overlong_lines
from dmarcmilter.mail.address_list import AddressList, ElementKind
from dmarcmilter.mail.domain import Domain, is_budget_spent, parse
from dmarcmilter.mail.header_tokens import unfold
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value, replace

MAX_DOMAINS: Final = 4
"""Distinct domains recorded for a message with several; more are left out (RFC 9989 11.5 asks for a limit)."""
MAX_FIELDS: Final = 4
"""From fields whose domains are recorded when a message has several; more are not read. The result is the same."""
MAX_RECORDED_FIELD: Final = 4096
"""Largest of several From fields whose domains are recorded, in bytes; a larger one is not read."""

MAX_PLAIN: Final = address_list.MAX_ADDRESS
"""Largest field read by one regular expression, in bytes: no address in it is too long. A larger one is parsed."""
MAX_SPLIT_FIELD: Final = 8192
"""Largest field with an over-long line that is read again as MTAs would split it, in bytes; a larger one counts as
misread. Each reading costs time, and real fields of this size are folded by their sender."""
# The form of most From fields: words or a quoted-string without specials, then one address. It has only one reading.
# The parser gives the same domain, which a test checks, but takes longer.
_WORD: Final = rb"[A-Za-z0-9_'-]+"
_ADDRESS: Final = rb"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)"
_PLAIN: Final = re.compile(
    rb" ?(?:(?:" + _WORD + rb"(?: " + _WORD + rb')*|"[A-Za-z0-9 ,._\'&-]*") ?)?<' + _ADDRESS + rb"> ?",
)

# Characters around an address in a display name: quotes, brackets, full stops, and the specials that an atom may have.
_PUNCTUATION: Final = (
    ".'`\u00b4\u2018\u2019\u201c\u201d\u00ab\u00bb\u2039\u203a\u3008\u3009\u300a\u300b\uff08\uff09!?*|~/&#$%^{}+"
)
# All characters with a full stop in their NFKC form (Unicode 15). Programs and IDNA (RFC 3490 3.1) read some as one.
_FULL_STOPS: Final = frozenset(
    ".\u3002\uff0e\ufe52\u2024\uff61\ufe12\u2025\u2026\ufe19\ufe30\u33c2\u33c7\u33d8\U0001f100"
    + "".join(map(chr, range(0x2488, 0x249C)))
)

# `From:` after a character that some programs treat as a line end, though it is none (RFC 5322 2.2): NUL, a bare CR or
# LF, VT, FF, FS, GS, RS, NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR. The lookbehind lets `re` search for "from" first,
# which is fast.
_HIDDEN_FIELD: Final = re.compile(
    rb"from(?:(?<=[\0\n\v\f\r\x1c-\x1e]from)|(?<=\xc2\x85from)|(?<=\xe2\x80[\xa8\xa9]from))[ \t]*+:"
)


class AuthorProblem(StrEnum):
    """Why a message has no Author Domain."""

    MISSING = "missing"
    """No From field (RFC 5322 3.6 requires exactly one)."""
    SEVERAL_FIELDS = "several-fields"
    """More than one From field, even if equal: a signature may cover one while a mail reader shows the other."""
    SEVERAL_DOMAINS = "several-domains"
    NO_DOMAIN = "no-domain"
    """The From field has no domain: an empty group, a domain literal, a local-part or words alone."""
    MALFORMED = "malformed"


class Author(Value):
    """The Author Domain, or why there is none."""

    domain: Domain | None
    """Set unless there is a problem."""
    problem: AuthorProblem | None
    domains: tuple[Domain, ...] = ()
    """The distinct domains in their order in the message, at most MAX_DOMAINS: for the outcome."""
    lax: bool = False
    """The field does not follow the grammar but has only one reading, as `Doe, John <j@example.com>`."""
    reason: Reason | None = None
    """What the problem is."""
    unread: bool = False
    """`domains` may lack some: a field is malformed or misread, or MAX_DOMAINS or MAX_FIELDS is exceeded."""
    misreading: Reason | None = None
    """Why programs could read another domain in a field with one Author Domain: lenient_readings.misreading, or an MTA
    that splits an over-long line or writes the field anew."""


def author_domain(headers: Sequence[Header], *, rewrites: bool = False) -> Author:
    """The Author Domain (RFC 9989 5.3.1). Linear in the size of the From fields; never raises.

    `rewrites`: the MTA may write the From field anew when it delivers the message, as Sendmail does.
    """
    # Some programs ignore white space around a field name, so " From" and "From " count as "From".
    fields = [header for header in headers if header.key.strip() == b"from"]
    bodies = [field.value for field in fields]
    if _has_hidden_field(headers):
        domains = _several(bodies).domains
        return _problem(AuthorProblem.MALFORMED, Reason.of(Code.FROM_AFTER_STRAY_LINE_END), domains)
    if not bodies:
        return _problem(AuthorProblem.MISSING, Reason.of(Code.FROM_MISSING))
    if len(bodies) > 1:
        return _several(bodies)
    author = _with_split_readings(_read_field(bodies[0]), fields[0])
    return _as_rewritten(author, bodies[0]) if rewrites else author


def _several(bodies: Sequence[bytes]) -> Author:
    """The problem of several From fields, with the domains to record, up to the limits above."""
    domains: dict[Domain, None] = {}
    read = [body for body in bodies[:MAX_FIELDS] if len(body) <= MAX_RECORDED_FIELD]
    unread = len(read) < len(bodies)
    for body in read:
        if len(domains) >= MAX_DOMAINS:
            unread = True
            break
        author = _read_field(body)
        domains.update(dict.fromkeys(author.domains))
        unread |= author.unread
    return _problem(AuthorProblem.SEVERAL_FIELDS, Reason.of(Code.FROM_SEVERAL), list(domains), unread=unread)


def _has_hidden_field(headers: Sequence[Header]) -> bool:
    """Whether programs that end lines at other characters than CRLF would see a From field inside another field.

    White space after such a line end continues the field for them too. A stray CR with other text after it is common
    in real mail, and harmless.
    """
    return _HIDDEN_FIELD.search(b" ".join([header.value for header in headers]).lower()) is not None


def _problem(
    problem: AuthorProblem, reason: Reason | None, domains: Sequence[Domain] = (), *, unread: bool = False
) -> Author:
    distinct = tuple(dict.fromkeys(domains))
    unread = unread or problem is AuthorProblem.MALFORMED or len(distinct) > MAX_DOMAINS
    return Author(domain=None, problem=problem, domains=distinct[:MAX_DOMAINS], reason=reason, unread=unread)


def _read_field(body: bytes) -> Author:
    plain = _PLAIN.fullmatch(body) if len(body) <= MAX_PLAIN else None
    if plain and (domain := parse(plain[1])):
        return Author(domain, problem=None, domains=(domain,))
    parsed = address_list.parse(body)
    if isinstance(parsed, Reason):
        return _problem(AuthorProblem.MALFORMED, parsed)
    domains = _domains(parsed)
    if domains is None:
        code = Code.FROM_TOO_MANY_IDN_LABELS if is_budget_spent() else Code.FROM_NOT_A_DOMAIN
        return _problem(AuthorProblem.MALFORMED, Reason.of(code))
    if len(domains) > 1:
        return _problem(AuthorProblem.SEVERAL_DOMAINS, Reason.of(Code.FROM_SEVERAL_DOMAINS), domains)
    kinds = {mailbox.kind for mailbox in parsed.mailboxes}
    if not domains:
        return _problem(AuthorProblem.NO_DOMAIN, _absence(kinds))
    if kinds & {ElementKind.LITERAL, ElementKind.LOCAL}:
        # The other author has no domain to evaluate, and a pass for this one must not count for both.
        return _problem(AuthorProblem.SEVERAL_DOMAINS, Reason.of(Code.FROM_AUTHOR_WITHOUT_DOMAIN), domains)
    author = Author(domain=domains[0], problem=None, domains=tuple(domains), lax=parsed.lax)
    misreading = lenient_readings.misreading(unfold(body), domains[0])
    return replace(author, misreading=misreading, unread=True) if misreading else author


def _with_split_readings(author: Author, field: Header) -> Author:
    """The author, misread if an MTA could split an over-long line of the field so that it has another one.

    Split within the words of a display name, it still has the same author.
    """
    has_reading = author.problem in (None, AuthorProblem.NO_DOMAIN)
    if not has_reading or author.misreading or not overlong_lines.has_overlong_line(field.name, field.value):
        return author
    if len(field.value) <= MAX_SPLIT_FIELD:
        splits = {overlong_lines.split_lines(field.name, field.value, width) for width in overlong_lines.SPLIT_WIDTHS}
        readings = map(_read_field, splits)
        if all(
            (reading.domain, reading.problem, reading.misreading) == (author.domain, author.problem, None)
            for reading in readings
        ):
            return author
    reason = Reason.of(Code.FROM_OVERLONG_LINE)
    if author.problem:
        return _problem(AuthorProblem.MALFORMED, reason)
    return replace(author, misreading=reason, unread=True)


def _as_rewritten(author: Author, body: bytes) -> Author:
    """The author, misread or malformed if Sendmail would deliver another one."""
    if author.problem is AuthorProblem.MALFORMED or author.misreading:
        return author
    reason = author_changed_by_sendmail.rewriting(body)
    if reason is None:
        return author
    if author.problem:
        return _problem(AuthorProblem.MALFORMED, reason, author.domains)
    return replace(author, misreading=reason, unread=True)


def as_malformed(author: Author) -> Author:
    """The same field as malformed, because programs could read another domain in it (RFC 9989 11.5)."""
    return _problem(AuthorProblem.MALFORMED, author.misreading, author.domains)


def _domains(parsed: AddressList) -> list[Domain] | None:
    """The distinct domains, at most one more than MAX_DOMAINS; None: one of them is not a domain name."""
    domains: dict[Domain, None] = {}
    for mailbox in dict.fromkeys(parsed.mailboxes):
        raw = _displayed_domain(mailbox.domain) if mailbox.kind is ElementKind.SHOWN else mailbox.domain
        if not raw:
            continue
        domain = parse(raw)
        if domain is None:
            return None
        domains[domain] = None
        if len(domains) > MAX_DOMAINS:
            break
    return list(domains)


def _displayed_domain(raw: bytes) -> bytes | str:
    """The domain that a display name shows, without the punctuation of the text around it; empty: it shows none.

    `Foo@Bar Ltd <u@example.com>` shows no address. Text with a dot, in any script, must be a domain.
    """
    try:
        text = raw.decode().strip(_PUNCTUATION)
    except UnicodeDecodeError:
        return raw
    # A `=` may begin an encoded word that contains the dot.
    has_dot = b"=" in raw or not _FULL_STOPS.isdisjoint(text)
    return text if has_dot else ""


def _absence(kinds: set[ElementKind]) -> Reason:
    """Why there is no domain, by the kinds of the addresses."""
    if ElementKind.LITERAL in kinds:
        return Reason.of(Code.FROM_DOMAIN_LITERAL)
    return Reason.of(Code.FROM_NO_DOMAIN) if kinds else Reason.of(Code.FROM_EMPTY_GROUP)

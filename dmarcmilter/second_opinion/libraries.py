"""The calls of pyspf, dkimpy and authheaders, each evaluating a message in its own way, with its DNS through a Lookup.

None of their rules is corrected here: `auth` does that for the results that count.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import authheaders
import dkim
import spf

from dmarcmilter.dns.lookup import Lookup, Status
from dmarcmilter.mail.message import Envelope
from dmarcmilter.outcome import shown
from dmarcmilter.second_opinion.cpu_limit import CpuLimitError, cpu_limit
from dmarcmilter.value import Value

MAX_CPU_SECONDS: Final = 10.0
"""CPU seconds for one answer of a library. Beyond them it is stopped, and gives no result.

dkimpy takes 3 seconds for a signature of a message of 30 MB, and minutes for a header field made of spaces."""


class LibraryAnswer(Value):
    """What a library returned or raised."""

    word: str
    """Its result; empty: it gave none."""
    error: str = ""
    """What it raised, or that it was stopped, in printable ASCII; empty: it returned the result."""

    @property
    def text(self) -> str:
        return self.error or self.word


def answer_of(evaluate: Callable[[], str]) -> LibraryAnswer:
    """Call a library, whatever it does with the message."""
    try:
        with cpu_limit(MAX_CPU_SECONDS):
            return LibraryAnswer(_printable(evaluate()))
    except CpuLimitError:
        return LibraryAnswer("", f"stopped after {MAX_CPU_SECONDS:g} seconds")
    except Exception as error:  # noqa: BLE001  they let IndexError, ValueError and many others out
        # dkimpy raises its own exceptions for signatures that do not verify.
        word = "fail" if isinstance(error, dkim.DKIMException) else ""
        return LibraryAnswer(word, _printable(f"raised {type(error).__name__}: {error}"))


def _printable(text: str) -> str:
    """Text that may quote the message or a DNS record, safe to print, and bounded."""
    return shown(text.encode("utf-8", "backslashreplace"))


def spf_by_pyspf(envelope: Envelope, lookup: Lookup) -> str:
    """The SPF result by pyspf's check2()."""
    with _pyspf_dns(lookup):
        return str(spf.check2(str(envelope.client_ip), *_sender_and_helo(envelope))[0])


def signature_by_dkimpy(message: bytes, index: int, lookup: Lookup) -> str:
    """The result of one DKIM-Signature field, counted from 0 at the top, by dkimpy's DKIM.verify()."""
    return "pass" if dkim.DKIM(message).verify(index, dnsfunc=_first_text(lookup)) else "fail"


def chain_by_dkimpy(message: bytes, lookup: Lookup) -> str:
    """The ARC result by dkimpy's ARC.verify(), which returns None for a chain that ended with cv=fail."""
    status = dkim.ARC(message).verify(dnsfunc=_first_text(lookup))[0]
    return "fail" if status is None else str(status.decode("ascii"))


def dmarc_by_authheaders(message: bytes, envelope: Envelope, lookup: Lookup) -> str:
    """The DMARC result by authheaders' check_dmarc(), with SPF and DKIM results by authheaders, too."""
    spf_result = None
    if envelope.client_ip is not None:
        with _pyspf_dns(lookup):
            spf_result = authheaders.check_spf(str(envelope.client_ip), *_sender_and_helo(envelope))
    dkim_result = authheaders.check_dkim(message, dnsfunc=_first_text(lookup))
    return str(authheaders.check_dmarc(message, spf_result, dkim_result, dnsfunc=_policy_record(lookup)).result)


def _sender_and_helo(envelope: Envelope) -> tuple[str, str]:
    return envelope.mail_from.decode("utf-8", "surrogateescape"), envelope.helo.decode("utf-8", "surrogateescape")


@contextmanager
def _pyspf_dns(lookup: Lookup) -> Iterator[None]:
    """Let pyspf look names up with `lookup`. It knows no other way than a function of its module."""

    def look_up(name: str, qtype: str, _strict: object, _timeout: object) -> list[tuple[tuple[str, str], Any]]:
        answer = lookup(name, qtype)
        if answer.status is Status.FAILED:
            raise spf.TempError(f"DNS {answer.reason}")
        return [((name, qtype), (data,) if isinstance(data, bytes) else data) for data in answer.records]

    before = spf.DNSLookup
    spf.DNSLookup = look_up
    try:
        yield
    finally:
        spf.DNSLookup = before


def _first_text(lookup: Lookup) -> Callable[..., bytes | None]:
    """A dnsfunc for keys. Of several TXT records dkimpy takes the first."""
    return lambda name, timeout=0: next(iter(_texts(lookup, name)), None)  # noqa: ARG005  dkimpy names its argument


def _policy_record(lookup: Lookup) -> Callable[[str], str | None]:
    """A dnsfunc for policy records, of which authheaders, given a dnsfunc, can be told one alone.

    Without a dnsfunc it looks for the one record that begins with v=DMARC1, and takes several for none.
    """

    def look_up(name: str) -> str | None:
        records = [text for text in _texts(lookup, name) if text.startswith(b"v=DMARC1")]
        return records[0].decode("utf-8", "backslashreplace") if len(records) == 1 else None

    return look_up


def _texts(lookup: Lookup, name: str | bytes) -> tuple[bytes, ...]:
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    answer = lookup(text.removesuffix("."), "TXT")
    if answer.status is Status.FAILED:
        raise dkim.DnsTimeoutError(f"DNS {answer.reason}")
    return answer.texts

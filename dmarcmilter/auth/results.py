"""Results of SPF, DKIM and ARC, without any policy."""

from enum import StrEnum

from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import Reason
from dmarcmilter.value import Value


class SpfWord(StrEnum):
    """SPF result (RFC 7208 2.6), spelled as in RFC 8601 2.7.2."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class SpfScope(StrEnum):
    """The identity that SPF checked."""

    MFROM = "mfrom"
    HELO = "helo"
    """Only for the null reverse-path (RFC 7208 2.4)."""


class DkimWord(StrEnum):
    """DKIM result (RFC 8601 2.7.1)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class ArcWord(StrEnum):
    """Chain validation status, cv (RFC 8617 4.4)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class SpfResult(Value):
    """The SPF result of one message."""

    result: SpfWord
    domain: Domain | None
    """The SPF-authenticated name: of MAIL FROM, of HELO for the null reverse-path; None: there was none to check."""
    scope: SpfScope
    reason: Reason | None = None
    """The term that decided, or the error."""
    cut_off: bool = False
    """A limit of this program, not of RFC 7208, ended the evaluation."""


class DkimResult(Value):
    """The result of one DKIM-Signature field (RFC 6376 6.1). Values that could not be read are None."""

    result: DkimWord
    domain: Domain | None = None
    """d="""
    selector: str | None = None
    """s=, in A-labels"""
    algorithm: str | None = None
    """a=, lower case"""
    identity: str | None = None
    """`@` and the domain of i=, when present"""
    signature: str = ""
    """b= without white space; header.b shows its beginning (RFC 6008)"""
    reason: Reason | None = None
    """Why it is not a plain pass; None: it is."""
    testing: bool = False
    """The key says t=y (RFC 6376 3.6.1)."""
    unsigned_duplicates: tuple[str, ...] = ()
    """Names of unsigned fields beside a signed field of the same name (RFC 6376 8.15)."""
    cut_off: bool = False
    """Not verified because of a limit of this program. Without a domain: signatures were not even read."""


class ArcSet(Value):
    """One ARC Set (RFC 8617 4.1). It counts only if the whole chain passes and the sealer is trusted."""

    instance: int
    sealer: Domain
    """d= of its ARC-Seal"""
    selector: str
    results: bytes
    """Its ARC-Authentication-Results after `i=N;`, raw."""


class ArcResult(Value):
    """The ARC result of one message."""

    result: ArcWord
    sets: tuple[ArcSet, ...] = ()
    """Newest first; empty unless the chain passes."""
    oldest_pass: int | None = None
    """RFC 8617 5.2: the first instance from which on every ARC-Message-Signature verifies, 0: all of them."""
    reason: Reason | None = None
    """Why the chain fails."""
    unresolved: Domain | None = None
    """The newest sealer, if the chain failed only because of a DNS failure."""


class AuthResults(Value):
    """Results of SPF, DKIM and ARC for one message."""

    spf: SpfResult
    dkim: tuple[DkimResult, ...]
    """One for each signature that was verified or refused, in the order of the DKIM-Signature fields."""
    arc: ArcResult

"""Faults of signatures, keys and bodies, each with its result word (RFC 8601 2.7.1) and reason.

The words follow one rule. fail: the message is not what was signed. neutral: the signature cannot be understood.
permerror: it can never verify. policy: it may verify, but we do not accept it. temperror: a DNS lookup failed.
"""

from enum import Enum

from dmarcmilter.auth.results import DkimWord
from dmarcmilter.reasons import Code, Reason


class SignatureFault(Enum):
    """A fault of a signature: its result word and the reason."""

    SYNTAX = (DkimWord.NEUTRAL, Reason.of(Code.SIGNATURE_SYNTAX))
    VERSION = (DkimWord.NEUTRAL, Reason.of(Code.SIGNATURE_VERSION))
    ALGORITHM = (DkimWord.NEUTRAL, Reason.of(Code.SIGNATURE_ALGORITHM))
    QUERY = (DkimWord.NEUTRAL, Reason.of(Code.SIGNATURE_KEY_QUERY))
    NO_BODY = (DkimWord.NEUTRAL, Reason.of(Code.BODY_NOT_HASHED))

    SHA1 = (DkimWord.PERMERROR, Reason.of(Code.SIGNATURE_SHA1))
    NO_FROM = (DkimWord.PERMERROR, Reason.of(Code.FROM_NOT_SIGNED))
    SEAL_SIGNED = (DkimWord.PERMERROR, Reason.of(Code.ARC_SEAL_SIGNED))
    SINGLE_LABEL = (DkimWord.PERMERROR, Reason.of(Code.SIGNATURE_SINGLE_LABEL))
    IDENTITY = (DkimWord.PERMERROR, Reason.of(Code.SIGNATURE_IDENTITY_OUTSIDE))
    EXPIRY = (DkimWord.PERMERROR, Reason.of(Code.SIGNATURE_EXPIRY))
    BODY_SHORT = (DkimWord.PERMERROR, Reason.of(Code.BODY_SHORT))

    NO_KEY = (DkimWord.PERMERROR, Reason.of(Code.KEY_MISSING))
    KEY_SYNTAX = (DkimWord.PERMERROR, Reason.of(Code.KEY_SYNTAX))
    KEY_REVOKED = (DkimWord.PERMERROR, Reason.of(Code.KEY_REVOKED))
    KEY_TYPE = (DkimWord.PERMERROR, Reason.of(Code.KEY_TYPE))
    KEY_ALGORITHM = (DkimWord.PERMERROR, Reason.of(Code.KEY_ALGORITHM))
    KEY_HASH = (DkimWord.PERMERROR, Reason.of(Code.KEY_HASH))
    KEY_SERVICE = (DkimWord.PERMERROR, Reason.of(Code.KEY_SERVICE))
    KEY_WEAK = (DkimWord.POLICY, Reason.of(Code.KEY_WEAK))
    KEY_LARGE = (DkimWord.POLICY, Reason.of(Code.KEY_LARGE))
    KEY_STRICT = (DkimWord.POLICY, Reason.of(Code.KEY_STRICT))
    KEY_UNREACHABLE = (DkimWord.TEMPERROR, Reason.of(Code.KEY_LOOKUP_FAILED))

    TOO_LONG = (DkimWord.POLICY, Reason.of(Code.SIGNATURE_TOO_LONG))
    TOO_MANY_NAMES = (DkimWord.POLICY, Reason.of(Code.SIGNATURE_TOO_MANY_NAMES))
    TOO_MANY = (DkimWord.POLICY, Reason.of(Code.TOO_MANY_SIGNATURES))
    EXPIRED = (DkimWord.POLICY, Reason.of(Code.SIGNATURE_EXPIRED))
    FUTURE = (DkimWord.POLICY, Reason.of(Code.SIGNATURE_IN_FUTURE))
    UNSIGNED_BODY = (DkimWord.POLICY, Reason.of(Code.BODY_PARTLY_UNSIGNED))

    BODY_MISMATCH = (DkimWord.FAIL, Reason.of(Code.BODY_HASH_MISMATCH))
    FROM_ADDED = (DkimWord.FAIL, Reason.of(Code.FROM_ADDED))
    MISMATCH = (DkimWord.FAIL, Reason.of(Code.SIGNATURE_MISMATCH))

    @property
    def word(self) -> DkimWord:
        return self.value[0]

    @property
    def reason(self) -> Reason:
        return self.value[1]

"""Why a signature, a key or a body is not a plain pass: each cause with its result word (RFC 8601 2.7.1).

The words follow one rule. fail: what was signed is not what came. neutral: the signature cannot be understood.
permerror: it can never verify. policy: it may verify, but we do not accept it. temperror: DNS did not say.
"""

from enum import Enum

from dmarcmilter.auth.results import DkimWord


class Fault(Enum):
    """The reasons are our own words and never quote the sender."""

    SYNTAX = (DkimWord.NEUTRAL, "signature syntax error")
    VERSION = (DkimWord.NEUTRAL, "unknown signature version")
    ALGORITHM = (DkimWord.NEUTRAL, "unknown signing algorithm")
    QUERY = (DkimWord.NEUTRAL, "unknown key query method")
    NO_BODY = (DkimWord.NEUTRAL, "body was not hashed")

    SHA1 = (DkimWord.PERMERROR, "rsa-sha1 is not accepted")
    NO_FROM = (DkimWord.PERMERROR, "From field not signed")
    SEAL_SIGNED = (DkimWord.PERMERROR, "ARC-Seal field signed")
    SINGLE_LABEL = (DkimWord.PERMERROR, "signing domain has a single label")
    IDENTITY = (DkimWord.PERMERROR, "identity outside the signing domain")
    EXPIRY = (DkimWord.PERMERROR, "expiry not after the time of signing")
    BODY_SHORT = (DkimWord.PERMERROR, "body shorter than the signed length")

    NO_KEY = (DkimWord.PERMERROR, "no key")
    KEY_SYNTAX = (DkimWord.PERMERROR, "key record syntax error")
    KEY_REVOKED = (DkimWord.PERMERROR, "key revoked")
    KEY_TYPE = (DkimWord.PERMERROR, "unknown key type")
    KEY_ALGORITHM = (DkimWord.PERMERROR, "key of another algorithm")
    KEY_HASH = (DkimWord.PERMERROR, "key not for this hash algorithm")
    KEY_SERVICE = (DkimWord.PERMERROR, "key not for email")
    KEY_WEAK = (DkimWord.POLICY, "key too short")
    KEY_LARGE = (DkimWord.POLICY, "key too large")
    KEY_STRICT = (DkimWord.POLICY, "key does not allow an identity below the signing domain")
    KEY_UNREACHABLE = (DkimWord.TEMPERROR, "key lookup failed")

    TOO_LONG = (DkimWord.POLICY, "signature field too long")
    TOO_MANY_NAMES = (DkimWord.POLICY, "too many signed field names")
    TOO_MANY = (DkimWord.POLICY, "too many signatures")
    EXPIRED = (DkimWord.POLICY, "signature expired")
    FUTURE = (DkimWord.POLICY, "signed in the future")
    UNSIGNED_BODY = (DkimWord.POLICY, "unsigned-body")

    BODY_MISMATCH = (DkimWord.FAIL, "body hash mismatch")
    FROM_ADDED = (DkimWord.FAIL, "unsigned From field added")
    MISMATCH = (DkimWord.FAIL, "signature mismatch")

    @property
    def word(self) -> DkimWord:
        return self.value[0]

    @property
    def reason(self) -> str:
        return self.value[1]

"""The URL of a database: shown without its password, and read without ambiguity."""

import re

_PASSWORD = re.compile(r"(?<=://)([^:/?]*):.*(?=@)")
_PARAMETER = re.compile(r"([?&]\w*(?:password|passfile|key|secret)\w*=)[^&]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """The URL with each password in it replaced by `***`."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***", url))


def has_open_at_sign(url: str) -> bool:
    """Whether a password contains an `@` that is not written %40: the text behind it would be read as the host."""
    kind, _, rest = url.partition("://")
    return not kind.startswith("sqlite") and rest.partition("?")[0].count("@") > 1

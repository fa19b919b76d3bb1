"""Domain: a domain name in normal form, made only here.

A-labels (RFC 5890), lower case, no final dot, at most 253 bytes (RFC 1035 2.3.4). Underscores stay: the rules for host
names do not apply to domains that are looked up.
"""

import itertools
import re
from contextvars import ContextVar, Token
from functools import lru_cache
from types import TracebackType
from typing import Final, NewType

import idna

Domain = NewType("Domain", str)

MAX_NAME = 253
"""Longest name, in bytes of its text form (RFC 1035 2.3.4); a longer one is no domain."""
MAX_LABEL = 63
"""Longest label, in bytes."""
MAX_INPUT = 1024
"""Longest input, in bytes; a longer one is no domain, and IDNA mapping is not run on it."""

KEPT: Final = 1024
"""ASCII texts whose name is cached, because a message has the same names in several places; the least recently used is
dropped."""

MAX_MAPPED: Final = 4000
"""Characters of U-labels that are mapped for one message, about 20 ms. A label costs LABEL_COST more, and 1 when it is
repeated. Beyond it, a name with further U-labels is no domain."""
LABEL_COST: Final = 8
"""Cost of a label besides its characters, counted in characters."""

_LABEL = rf"[a-z0-9_-]{{1,{MAX_LABEL}}}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Full stops of other scripts that UTS 46 maps to "." (RFC 3490 3.1): labels are split before mapping.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")


def parse(raw: bytes | str) -> Domain | None:
    """Parse a domain name from the wire; None when it is none (RFC 9989 5.3.1, RFC 8616, RFC 5891).

    U-labels become A-labels one by one; ASCII labels are only made lower case, so that `foo_bar` stays. A single final
    dot is dropped. Address literals and names with empty labels are no domains.
    """
    if len(raw) > MAX_INPUT:
        return None
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8")
        except UnicodeDecodeError:
            return None
    text = raw.removesuffix(".")
    if len(text) > MAX_NAME:
        return None  # an A-label is longer than its U-label; do not spend the cost of mapping
    return _of_ascii(text) if text.isascii() else _of_name(_mapped_name(_DOTS.split(text)))


@lru_cache(maxsize=KEPT)
def _of_ascii(text: str) -> Domain | None:
    return _of_name(text.lower())


def _of_name(name: str) -> Domain | None:
    return Domain(name) if len(name) <= MAX_NAME and _NAME.fullmatch(name) else None


def _mapped_name(labels_of_name: list[str]) -> str:
    """Map a name to A-labels; empty when that is not possible or too long. Stops at the first such label."""
    mapped: list[str] = []
    length = 0
    for label in labels_of_name:
        a_label = label.lower() if label.isascii() else _mapped(label)
        length += len(a_label or "") + 1
        if not a_label or length > MAX_NAME + 1:
            return ""
        mapped.append(a_label)
    return ".".join(mapped)


def _mapped(label: str) -> str | None:
    budget = _BUDGET.get()
    return _a_label(label) if budget is None else budget.a_label(label)


def _a_label(label: str) -> str | None:
    try:
        return idna.encode(label, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None


class LabelBudget:
    """The budget of one message for IDNA mapping; parse() uses it within its `with` block.

    All readers of a header share one budget, so that many fields cannot each use the whole (RFC 9989 11.5). No label is
    mapped twice, not even one that cannot be mapped.
    """

    def __init__(self, characters: int = MAX_MAPPED) -> None:
        self._left = characters
        self._known: dict[str, str | None] = {}
        self._token: Token[LabelBudget | None] | None = None
        self.is_spent = False
        """A label was not mapped because of the budget, and no further one is."""

    def __enter__(self) -> None:
        self._token = _BUDGET.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _BUDGET.reset(self._token)
            self._token = None

    def a_label(self, label: str) -> str | None:
        is_known = label in self._known
        cost = 1 if is_known else len(label) + LABEL_COST
        if cost > self._left:
            self.is_spent, self._left = True, 0
            return None
        self._left -= cost
        if not is_known:
            self._known[label] = _a_label(label)
        return self._known[label]


_BUDGET: ContextVar[LabelBudget | None] = ContextVar("label_budget", default=None)


def is_budget_spent() -> bool:
    """Whether the LabelBudget of the message was used up, so that names may be missing."""
    budget = _BUDGET.get()
    return budget is not None and budget.is_spent


def labels(domain: Domain) -> list[str]:
    return domain.split(".")


def is_within(domain: Domain, ancestor: Domain) -> bool:
    """Whether the domain is the ancestor or below it."""
    return domain == ancestor or domain.endswith("." + ancestor)


def common_labels(domain: Domain | None, author: Domain | None) -> int:
    """Number of labels that two names share, counted from the right; 2 or more may mean the same organization."""
    if domain is None or author is None:
        return 0
    if domain == author:
        return domain.count(".") + 1
    pairs = zip(reversed(labels(domain)), reversed(labels(author)), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

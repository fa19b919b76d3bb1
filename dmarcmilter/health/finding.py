"""What a check found, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Health(IntEnum):
    """The value is the exit status, in the order of Nagios: OK, WARNING, CRITICAL."""

    HEALTHY = 0
    DEGRADED = 1
    """Mail flows; something else does not."""
    DOWN = 2
    """Mail is not judged."""

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    health: Health
    text: str


def worst(findings: Sequence[Finding]) -> Health:
    return max((found.health for found in findings), default=Health.HEALTHY)


def line(findings: Sequence[Finding]) -> str:
    """One line: what is wrong first, else what was looked at."""
    wrong = [found for found in findings if found.health is not Health.HEALTHY]
    shown = sorted(wrong, key=lambda found: -found.health) or findings
    return f"dmarcmilter {worst(findings).word}: " + "; ".join(f"{found.check}: {found.text}" for found in shown)

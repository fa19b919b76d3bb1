"""The result of one health check, and the line that `dmarcmilter health` prints for all of them."""

from collections.abc import Sequence
from enum import IntEnum

from dmarcmilter.build_kind import build_kind
from dmarcmilter.value import Value


class Health(IntEnum):
    """The value is the exit status, as Nagios defines it: OK, WARNING, CRITICAL."""

    HEALTHY = 0
    DEGRADED = 1
    """Mail flows, but something else does not work."""
    DOWN = 2
    """Mail is not evaluated."""

    @property
    def word(self) -> str:
        return self.name.lower()


class CheckResult(Value):
    check: str
    """Name of the check, as `--skip` takes it."""
    health: Health
    text: str


def worst(results: Sequence[CheckResult]) -> Health:
    return max((result.health for result in results), default=Health.HEALTHY)


def line(results: Sequence[CheckResult]) -> str:
    """One line: the checks that failed, the worst first; if none did, all of them."""
    failed = [result for result in results if result.health is not Health.HEALTHY]
    shown = sorted(failed, key=lambda result: -result.health) or results
    texts = "; ".join(f"{result.check}: {result.text}" for result in shown)
    return f"dmarcmilter {worst(results).word}: {texts} ({build_kind()})"

"""A finding about the configuration or what it meets on this machine: a severity and one sentence."""

from enum import StrEnum

from dmarcmilter.value import Value


class Severity(StrEnum):
    ERROR = "error"
    """It does not work."""
    WARNING = "warning"
    """It works, but perhaps not as the operator expects."""
    OK = "ok"


class Finding(Value):
    severity: Severity
    text: str
    """Begins with the [section] and key, or the program, that it is about."""

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


def error(text: str) -> Finding:
    return Finding(Severity.ERROR, text)


def warning(text: str) -> Finding:
    return Finding(Severity.WARNING, text)


def ok(text: str) -> Finding:
    return Finding(Severity.OK, text)

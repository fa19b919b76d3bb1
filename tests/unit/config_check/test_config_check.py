"""All checks together."""

from dmarcmilter.config.finding import Finding, Severity
from dmarcmilter.config_check import in_order


def test_errors_come_first_and_the_order_of_equals_is_kept():
    texts = [(Severity.OK, "a"), (Severity.WARNING, "b"), (Severity.ERROR, "c"), (Severity.WARNING, "d")]
    found = in_order([Finding(severity, text) for severity, text in texts])
    assert [finding.text for finding in found] == ["c", "b", "d", "a"]

"""A finding is printed as one line."""

from dmarcmilter.config import finding


def test_a_finding_begins_with_its_severity():
    assert str(finding.error("[x] y: z")) == "error: [x] y: z"
    assert str(finding.warning("[x] y: z")) == "warning: [x] y: z"
    assert str(finding.ok("[x] y: z")) == "ok: [x] y: z"

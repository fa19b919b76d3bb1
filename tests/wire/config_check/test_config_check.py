"""The order of findings of config check."""

from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import all_findings
from tests.support.config_check import NOWHERE


def test_errors_first_and_what_harms_most_first():
    conf = load.parse('policy = { mode = "monitor" }\nauthor = { on_missing = "accept" }\ndmarc = { psl_file = "/no" }')
    found = all_findings(conf, NOWHERE)
    assert [one.severity for one in found] == sorted((one.severity for one in found), key=list(Severity).index)
    shown = [one.text.split()[0] for one in found if one.severity is not Severity.OK]
    assert shown[:3] == ["[dmarc]", "[policy]", "[author]"]

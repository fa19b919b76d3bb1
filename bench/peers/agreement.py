"""Does a filter come to the expected results? Compares its Authentication-Results fields with those of the corpus."""

from collections.abc import Iterable, Sequence

from bench.peers.corpus import Expected
from bench.peers.load_generator import Delivery
from dmarcmilter.auth.authentication_results_reader import ReadResult, parse

SPELLINGS = {("arc", "reject"): "fail"}
"""Words of filters for results that RFC 8601 2.7 calls otherwise: rspamd's for a chain that fails."""


def agreement(deliveries: Sequence[Delivery], expected: Sequence[Expected], methods: Iterable[str]) -> dict[str, float]:
    """By method, the share of messages in percent whose result is the expected one.

    For DKIM that is the set of domains with a passing signature. ARC counts for messages with an ARC Set only.
    """
    shares = {}
    for method in methods:
        compared = [
            _result(method, _results(delivery), expected[delivery.position])
            == getattr(expected[delivery.position], method)
            for delivery in deliveries
            if getattr(expected[delivery.position], method) is not None
        ]
        shares[method] = 100 * sum(compared) / len(compared) if compared else 100.0
    return shares


def _results(delivery: Delivery) -> list[ReadResult]:
    """Results in all fields that the filter added; rspamd writes another authserv-id than its conf says."""
    fields = [parse(value.encode()) for name, value in delivery.added if name.lower() == "authentication-results"]
    return [result for field in fields if field for result in field.results]


def _result(method: str, results: list[ReadResult], expected: Expected) -> str | tuple[str, ...]:
    """What the filter says; several different results are none that is expected, and are returned together."""
    of_method = [result for result in results if result.method == method]
    if method == "dkim":
        return tuple(sorted({_signing_domain(result) for result in of_method if result.result == "pass"}))
    if method == "spf" and expected.has_mail_from:
        of_method = [result for result in of_method if {name for name, _ in result.properties} != {"smtp.helo"}]
    words = {SPELLINGS.get((method, result.result), result.result) for result in of_method}
    # Without a result, a filter had nothing to check, or did not do it: "none" either way.
    return words.pop() if len(words) == 1 else tuple(sorted(words)) or "none"


def _signing_domain(result: ReadResult) -> str:
    properties = dict(result.properties)
    domain = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
    return domain.lower()

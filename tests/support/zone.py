"""A small DNS for tests: a Lookup over a zone table that records what was asked."""

from collections.abc import Iterable, Mapping

from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.value import replace


class Zone:
    """`records`: name to a TXT string, a list of them, or a table of type to list of data.

    `failed`: names ("name", or "name TYPE") that give no usable answer. Wildcards (`*.name`) and
    empty non-terminals behave as in DNS (RFC 4592, RFC 8020). A CNAME is followed.
    """

    def __init__(self, records: Mapping[str, object], failed: Iterable[str] = ()) -> None:
        self.records = {name: self._by_type(data) for name, data in records.items()}
        self.failed = frozenset(failed)
        self.asked: list[tuple[str, str]] = []

    @staticmethod
    def _by_type(data: object) -> dict[str, tuple]:
        if isinstance(data, str):
            data = {"TXT": [data]}
        elif isinstance(data, list):
            data = {"TXT": data}
        encode = {"TXT": lambda text: text.encode("latin-1"), "MX": tuple}
        return {rdtype: tuple(map(encode.get(rdtype, str), items)) for rdtype, items in data.items()}

    def __call__(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        return self._answer(name, rdtype, frozenset())

    def _answer(self, name: str, rdtype: str, aliases: frozenset[str]) -> Answer:
        if name in self.failed or f"{name} {rdtype}" in self.failed:
            return Answer(Status.FAILED, reason=recognized("timeout"))
        found = self._at(name)
        if found is not None and "CNAME" in found and rdtype != "CNAME":
            if name in aliases:
                return Answer(Status.FAILED, reason=Reason.of(Code.DNS_CNAME_CHAIN), is_alias=True)
            return replace(self._answer(found["CNAME"][0], rdtype, aliases | {name}), is_alias=True)
        if found is None:
            return Answer(Status.NXDOMAIN)
        if rdtype not in found:
            return Answer(Status.NODATA)
        return Answer(Status.FOUND, found[rdtype])

    def _at(self, name: str) -> dict[str, tuple] | None:
        """What stands at the name, or at the wildcard below its closest encloser; None: NXDOMAIN."""
        if self._exists(name):
            return self.records.get(name, {})
        encloser = name
        while encloser and not self._exists(encloser):
            encloser = encloser.partition(".")[2]
        return self.records.get("*." + encloser) if encloser else None

    def _exists(self, name: str) -> bool:
        return name in self.records or any(other.endswith("." + name) for other in self.records)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

"""Our Authentication-Results: what is written is read back as the same results, and nothing else (RFC 8601 2.2)."""

from collections.abc import Iterator

from dmarcmilter.auth import authentication_results_reader
from dmarcmilter.auth.authentication_results_writer import MAX_FIELD, MAX_VALUE, MethodResult, render
from dmarcmilter.auth.forged_authentication_results import forged
from fuzz.material import rows

IDENTIFIER = "mx.test.example"
METHODS = ("spf", "dkim", "arc", "dmarc")
NAMES = ("header.d", "header.i", "header.b", "header.s", "smtp.mailfrom", "header.from")


def check(data: bytes) -> None:
    """Lines: `method|reason|comment|value|value ...`; a method is a number of ours, the values are hostile."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    results = [_result(line.split("|")) for line in lines[:40]]
    field = render(IDENTIFIER, results)
    assert len(field) <= MAX_FIELD
    assert all(" " <= char <= "~" for char in field.replace("\n\t", ""))
    assert all(0 < len(line) < 998 for line in field.split("\n"))
    for wire in (field.replace("\n", "\r\n"), field.replace("\n\t", " ")):
        read = authentication_results_reader.parse(wire.encode("ascii"))
        assert read is not None
        assert read.authserv_id == IDENTIFIER
        _check_results(results, read.results, whole="further signatures" not in field and len(field) < MAX_FIELD // 2)
    assert forged([b" " + field.encode("ascii")], [IDENTIFIER]) == (1,)


def _result(words: list[str]) -> MethodResult:
    method, reason, comment, *values = [*words, "", "", ""]
    pairs = tuple((NAMES[number % len(NAMES)], value) for number, value in enumerate(values[:12]))
    return MethodResult(METHODS[sum(map(ord, method)) % len(METHODS)], "fail", reason, comment, pairs)


def _check_results(
    written: list[MethodResult], read: tuple[authentication_results_reader.ReadResult, ...], *, whole: bool
) -> None:
    """Signatures may have been left out of a long field, details only of a very long one."""
    if not whole:
        assert len(read) <= len(written)
        return
    assert [_meaning(result) for result in written] == [(one.method, one.result, one.properties) for one in read]


def _meaning(result: MethodResult) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    fit = tuple((name, value) for name, value in result.properties if _is_fit(value))
    return result.method, result.result, fit


def _is_fit(value: str) -> bool:
    return 0 < len(value) <= MAX_VALUE and all(" " <= char <= "~" for char in value)


def seeds() -> Iterator[bytes]:
    yield b'a|reason; x=y|comment) dmarc=pass|a b"\\|;dmarc=pass|(|\xff|a@b.example|"x"@b'
    for row in rows("authres_render"):
        lines = [
            "|".join(
                [
                    one["method"],
                    one.get("reason", ""),
                    one.get("comment", ""),
                    *(v for _, v in one.get("properties", [])),
                ]
            )
            for one in row["results"]
        ]
        yield "\n".join(lines).encode("utf-8", "surrogateescape")

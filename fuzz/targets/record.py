"""DMARC Policy Records: every text has an effective reading, and that reading is stable (RFC 9989 4.7, 4.10.1)."""

from collections.abc import Iterator

from dmarcmilter.dmarc import record, report_uri
from dmarcmilter.dmarc.record import MAX_TEXT, Disposition, PolicyRecord
from fuzz.material import rows, vectors


def check(data: bytes) -> None:
    found = record.parse(data)
    miss = record.near_miss(data)
    assert (found is not None) == record.is_policy_record(data)
    assert found is None or miss is None
    for fault in [*(found.faults if found else ()), *([miss] if miss else [])]:
        assert all(" " <= char <= "~" for char in fault.tag + fault.problem + fault.advice)
        assert len(fault.problem) < 200
    if found is not None:
        _check_record(found)
        again = record.parse(_written(found).encode("ascii"))
        assert again is not None
        assert _meaning(again) == _meaning(found)
        assert record.parse(b" " + data + b";") is not None


def _check_record(found: PolicyRecord) -> None:
    assert len(found.text) <= MAX_TEXT
    assert all(" " <= char <= "~" for char in found.text)
    assert found.usable or (found.p, found.sp, found.np, found.rua) == (Disposition.NONE, None, None, ())
    assert found.pct is None or 0 <= found.pct <= 100
    for uris in (found.rua, found.ruf):
        assert len(uris) <= report_uri.MAX_URIS
        assert len(set(uris)) == len(uris)
        assert not set("".join(uris)) & set(", !;\t")
    assert found.fo == "0" or found.ruf


def _written(found: PolicyRecord) -> str:
    """A record that says the same."""
    tags: dict[str, object] = {
        "p": found.p if found.usable else "",
        "sp": found.sp,
        "np": found.np,
        "adkim": found.adkim,
        "aspf": found.aspf,
        "t": None if found.t is None else "y" if found.t else "n",
        "pct": found.pct,
        "psd": found.psd,
        "fo": found.fo,
        "rua": ",".join(found.rua) or None,
        "ruf": ",".join(found.ruf) or None,
    }
    return "v=DMARC1" + "".join(f"; {name}={value}" for name, value in tags.items() if value is not None)


def _meaning(found: PolicyRecord) -> tuple[object, ...]:
    words = (found.p, found.sp, found.np, found.adkim, found.aspf, found.t, found.pct, found.psd, found.fo)
    return (*words, found.rua, found.ruf, found.usable)


def seeds() -> Iterator[bytes]:
    for row in rows("record"):
        yield row["text"].encode("latin-1")
    for vector in vectors("dmarc"):
        for types in vector["zone"].values():
            for text in types.get("TXT", ()):
                yield ("".join(text) if isinstance(text, list) else text).encode("latin-1", "replace")

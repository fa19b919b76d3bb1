"""An outcome object of the journal as rows of the store, and back. Pure.

One table of paths drives both ways; what has no column of its own is kept in `verdicts.detail`, so nothing is lost
and a key that a later version adds needs no change here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

KNOWN_VERSION = 1
DIGEST_OCTETS = 16
HASH_OCTETS = 8
"""Of message_id_hash."""

Record = dict[str, Any]
Row = dict[str, Any]

CIRCUMSTANCES: Mapping[str, Any] = {
    "deferred_for": None,
    "draws": {"pct": None, "rollout": None},
    "client_names": None,
    "lists": {"ids": [], "traces": []},
}
"""Keys that may differ from message to message though little else does, and what most messages have there."""
OF_THE_MESSAGE = (
    *("time", "queue_id", "client_ip", "helo", "size", "dns", "milliseconds", "message_id_hash"),
    *CIRCUMSTANCES,
)
"""Keys that differ from message to message. All others are of the verdict."""

VERDICT_PATHS: Mapping[str, tuple[str, ...]] = {
    "author_domain": ("author_domain",),
    "author_problem": ("author_problem",),
    "organizational_domain": ("policy", "organizational_domain"),
    "mail_from_domain": ("mail_from_domain",),
    "spf_result": ("spf", "result"),
    "spf_domain": ("spf", "domain"),
    "spf_scope": ("spf", "scope"),
    "arc_result": ("arc", "result"),
    "dmarc_result": ("dmarc", "result"),
    "tag": ("dmarc", "tag"),
    "published": ("dmarc", "published"),
    "requested": ("dmarc", "requested"),
    "sampled_out": ("sampled_out",),
    "mode": ("mode",),
    "disposition": ("disposition",),
    "action": ("action",),
    "would": ("would",),
}
POLICY_KEYS = ("domain", "record", "discovery", "usable", "p", "sp", "np", "adkim", "aspf", "pct", "t", "psd", "fo")
POLICY_LISTS = ("rua", "ruf")
SIGNATURE_KEYS = ("result", "domain", "selector", "algorithm", "testing", "reason")
OVERRIDE_KEYS = ("type", "rfc7489", "comment", "entry")
PARTS = {"dkim": SIGNATURE_KEYS, "overrides": OVERRIDE_KEYS}
"""Lists of the outcome object that have tables of their own, and the keys that have columns there."""

FLAG_COLUMNS = frozenset({"usable", "testing", "sampled_out", "spf_aligned", "dkim_aligned"})
NUMBER_COLUMNS = frozenset(
    {"pct", "day", "time", "size", "dns_queries", "dns_cache_hits", "dns_microseconds", "microseconds"}
    | {"message_id_hash"}
)
FLAGS, NUMBERS, TEXTS = {bool}, {int, type(None)}, {str, type(None)}

_compact = json.JSONEncoder(separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class UnreadableError(ValueError):
    """A line that is no outcome object, or of a version that we do not know."""


@dataclass(frozen=True, slots=True)
class Line:
    """One outcome, its columns worked out as far as each message needs them."""

    record: Record
    outcome: Row
    """Of `outcomes`, without the two references."""
    verdict_digest: bytes
    client_digest: bytes


def parse(line: bytes) -> Line:
    """One line of the journal."""
    try:
        # PostgreSQL stores every character but this one.
        record = json.loads(line.replace(rb"\u0000", rb"\ufffd"))
        version = record["v"]
        line_read = _line(record) if version == KNOWN_VERSION else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error
    if line_read is None:
        raise UnreadableError(f"version {version} of the outcome object")
    return line_read


def _line(record: Record) -> Line:
    received = datetime.fromisoformat(record["time"]).astimezone(UTC)
    dns = record["dns"]
    outcome = {
        "day": received.year * 10_000 + received.month * 100 + received.day,
        "time": (received - _EPOCH) // _MILLISECOND,
        "queue_id": record["queue_id"],
        "size": record["size"],
        "dns_queries": dns["queries"],
        "dns_cache_hits": dns["cache_hits"],
        "dns_microseconds": round(dns["milliseconds"] * 1000),
        "microseconds": round(record["milliseconds"] * 1000),
        "message_id_hash": number_of(record.get("message_id_hash")),
        "detail": _circumstances(record),
    }
    shared = {name: value for name, value in record.items() if name not in OF_THE_MESSAGE}
    return Line(record, _checked(outcome), _digest(shared), _digest([record["client_ip"], record["helo"]]))


def number_of(digits: str | None) -> int | None:
    """A hash of 16 hexadecimal digits as the databases' signed number of 64 bits. ValueError for anything else."""
    if digits is None:
        return None
    octets = bytes.fromhex(digits)
    if len(octets) != HASH_OCTETS:
        raise ValueError(f"{len(octets)} octets of hash")
    return int.from_bytes(octets, "big", signed=True)


def digits_of(number: int | None) -> str | None:
    return None if number is None else number.to_bytes(HASH_OCTETS, "big", signed=True).hex()


def _circumstances(record: Record) -> str | None:
    """What is not as with most messages; None: written by a version that had none of these keys."""
    if not any(name in record for name in CIRCUMSTANCES):
        return None
    return _compact({name: record[name] for name, usual in CIRCUMSTANCES.items() if record.get(name, usual) != usual})


def _digest(value: object) -> bytes:
    return blake2b(_compact(value).encode(), digest_size=DIGEST_OCTETS).digest()


def client(record: Record) -> Row:
    return _checked({"ip": record["client_ip"], "helo": record["helo"]})


def policy(record: Record) -> tuple[bytes, Row] | None:
    """Digest and columns; None when no policy record was found."""
    found = record["policy"]
    if found is None:
        return None
    row = {name: found[name] for name in POLICY_KEYS} | {name: json.dumps(found[name]) for name in POLICY_LISTS}
    return _digest(row), _checked(row)


def verdict(record: Record) -> Row:
    """The columns of `verdicts` but its references."""
    rest = {name: value for name, value in record.items() if name not in OF_THE_MESSAGE}
    for name, known in PARTS.items():
        further = [_without(part, known) for part in rest.pop(name)]
        if any(further):
            rest[name] = further
    if rest["policy"] is not None:
        rest["policy"] = _without(rest["policy"], (*POLICY_KEYS, *POLICY_LISTS))
    mechanisms = {found["mechanism"] for found in record["dmarc"]["aligned"]}
    row: Row = {"spf_aligned": "spf" in mechanisms, "dkim_aligned": "dkim" in mechanisms}
    for column, path in VERDICT_PATHS.items():
        row[column], rest = _taken(rest, path)
    return _checked(row | {"detail": _compact(rest)})


def _checked(row: Row) -> Row:
    """Every value has its column's type: a database that refuses a statement does not say which line is wrong."""
    for name, value in row.items():
        kinds = FLAGS if name in FLAG_COLUMNS else NUMBERS if name in NUMBER_COLUMNS else TEXTS
        if type(value) not in kinds:
            raise UnreadableError(f"{name}: {type(value).__name__}")
    return row


def _taken(values: Record, path: tuple[str, ...]) -> tuple[Any, Record]:
    """The value at a path of one or two keys, and what is left without it. Nothing is changed in place."""
    first, *deeper = path
    if not deeper:
        return values.get(first), _without(values, (first,))
    inside = values.get(first)
    if inside is None:
        return None, values
    return inside.get(deeper[0]), values | {first: _without(inside, (deeper[0],))}


def _without(values: Record, names: tuple[str, ...]) -> Record:
    return {name: value for name, value in values.items() if name not in names}


def signatures(record: Record) -> list[Row]:
    return _parts(record["dkim"], SIGNATURE_KEYS)


def overrides(record: Record) -> list[Row]:
    # A version before the [[override]] entries did not write `entry`.
    return _parts([{"entry": None} | found for found in record["overrides"]], OVERRIDE_KEYS)


def _parts(found: list[Record], names: tuple[str, ...]) -> list[Row]:
    return [_checked({name: part[name] for name in names}) | {"position": n} for n, part in enumerate(found)]


@dataclass(frozen=True, slots=True)
class Stored:
    """All rows of one outcome."""

    outcome: Row
    verdict: Row
    policy: Row | None
    client: Row
    signatures: list[Row]
    overrides: list[Row]


def rebuilt(stored: Stored) -> Record:
    """The outcome object again, as the journal had it."""
    outcome = stored.outcome
    record: Record = json.loads(stored.verdict["detail"])
    record |= {
        "time": (_EPOCH + outcome["time"] * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "queue_id": outcome["queue_id"],
        "client_ip": stored.client["ip"],
        "helo": stored.client["helo"],
        "size": outcome["size"],
        "dns": {
            "queries": outcome["dns_queries"],
            "cache_hits": outcome["dns_cache_hits"],
            "milliseconds": outcome["dns_microseconds"] / 1000,
        },
        "milliseconds": outcome["microseconds"] / 1000,
    }
    for name, found in (("dkim", stored.signatures), ("overrides", stored.overrides)):
        further = record.get(name) or [{}] * len(found)
        record[name] = [{key: row[key] for key in PARTS[name]} | more for row, more in zip(found, further, strict=True)]
    if outcome["detail"] is not None or outcome["message_id_hash"] is not None:
        record["message_id_hash"] = digits_of(outcome["message_id_hash"])
    if outcome["detail"] is not None:
        record |= CIRCUMSTANCES | json.loads(outcome["detail"])
    if stored.policy is not None:
        record["policy"] |= {name: stored.policy[name] for name in POLICY_KEYS}
        record["policy"] |= {name: json.loads(stored.policy[name]) for name in POLICY_LISTS}
    for column, path in VERDICT_PATHS.items():
        if len(path) == 1:
            record[path[0]] = stored.verdict[column]
        elif record.get(path[0]) is not None:
            record[path[0]][path[1]] = stored.verdict[column]
    return record

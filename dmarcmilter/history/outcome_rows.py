"""Convert an outcome record to rows of the database, and back. No I/O.

One table of paths serves both directions. Fields without a column are kept as JSON in the column `detail`, so a new
field of the record needs no change here.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET

from dmarcmilter import outcome_record
from dmarcmilter.history.day_number import day_number
from dmarcmilter.outcome_record import (
    JsonObject,
    OutcomeRecord,
    RecordedDns,
    RecordedDraws,
    RecordedLists,
    UndecodableError,
)
from dmarcmilter.value import Value

DIGEST_BYTES = 16
"""Bytes of the digests that find equal shared rows."""
HASH_BYTES = 8
"""Bytes of message_id_hash."""

DatabaseRow = dict[str, Any]
"""Values of the columns of one row."""
Detail = JsonObject
"""The JSON object in a column `detail`: fields without a column."""

CIRCUMSTANCES: Mapping[str, object] = {
    "deferred_for": None,
    "draws": RecordedDraws(),
    "client_names": None,
    "lists": RecordedLists(),
}
"""Fields that may differ between messages with the same verdict, and their values in most messages."""
USUAL_CIRCUMSTANCES: Detail = msgspec.to_builtins(CIRCUMSTANCES)
MESSAGE_FIELDS: Mapping[str, object] = {
    "time": "",
    "queue_id": None,
    "client_ip": None,
    "helo": None,
    "size": 0,
    "dns": RecordedDns(queries=0, cache_hits=0, milliseconds=0.0),
    "milliseconds": 0.0,
    "message_id_hash": UNSET,
    **dict.fromkeys(CIRCUMSTANCES, UNSET),
}
"""Fields that differ from message to message, with neutral values. All other fields belong to the verdict."""

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
    "would": ("would_action",),
}
"""The columns of `verdicts`, and where their values are in a record."""
POLICY_COLUMNS = ("domain", "record", "discovery", "usable", "p", "sp", "np", "adkim", "aspf", "pct", "t", "psd", "fo")
POLICY_LIST_COLUMNS = ("rua", "ruf")
"""Columns that hold a JSON list."""
SIGNATURE_COLUMNS = ("result", "domain", "selector", "algorithm", "testing", "reason")
OVERRIDE_COLUMNS = ("type", "rfc7489", "comment", "entry")
FLAG_COLUMNS = frozenset({"usable", "testing", "sampled_out"})
"""Columns that hold a truth value; SQLite returns a number for it."""
PART_COLUMNS = {"dkim": SIGNATURE_COLUMNS, "overrides": OVERRIDE_COLUMNS}
"""Lists of the record that have tables of their own, and the columns there."""

_compact = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class ParsedLine(Value):
    """One decoded line of the journal, with the row of `outcomes` and the digests of its shared rows."""

    record: OutcomeRecord
    outcome: DatabaseRow
    """The row of `outcomes`, without its two references."""
    verdict_digest: bytes
    client_digest: bytes


def parse(line: bytes) -> ParsedLine:
    """Decode one line of the journal. UndecodableError if it is no outcome record."""
    # PostgreSQL can store every character but U+0000.
    record = outcome_record.decoded(line.replace(rb"\u0000", rb"\ufffd"))
    try:
        return _line(record)
    except (ValueError, OverflowError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from error


def _line(record: OutcomeRecord) -> ParsedLine:
    received = datetime.fromisoformat(record.time)
    if received.tzinfo is None:
        raise ValueError("a time without a time zone")
    received = received.astimezone(UTC)
    outcome = {
        "day": day_number(received),
        "time": (received - _EPOCH) // _MILLISECOND,
        "queue_id": record.queue_id,
        "size": record.size,
        "dns_queries": record.dns.queries,
        "dns_cache_hits": record.dns.cache_hits,
        "dns_microseconds": round(record.dns.milliseconds * 1000),
        "microseconds": round(record.milliseconds * 1000),
        "message_id_hash": signed_number(None if record.message_id_hash is UNSET else record.message_id_hash),
        "detail": _circumstances(record),
    }
    shared = msgspec.structs.replace(record, **MESSAGE_FIELDS)
    return ParsedLine(record, outcome, _digest(shared), _digest((record.client_ip, record.helo)))


def signed_number(digits: str | None) -> int | None:
    """A hash of 16 hexadecimal digits as the databases' signed number of 64 bits. ValueError for anything else."""
    if digits is None:
        return None
    value = bytes.fromhex(digits)
    if len(value) != HASH_BYTES:
        raise ValueError(f"a hash of {len(value)} bytes")
    return int.from_bytes(value, "big", signed=True)


def hex_digits(number: int | None) -> str | None:
    """The 16 hexadecimal digits of a number made by signed_number."""
    return None if number is None else number.to_bytes(HASH_BYTES, "big", signed=True).hex()


def _circumstances(record: OutcomeRecord) -> str | None:
    """JSON of the CIRCUMSTANCES that are not the usual ones; None if written by a version without these fields."""
    recorded = {name: value for name in CIRCUMSTANCES if (value := getattr(record, name)) is not UNSET}
    if not recorded:
        return None
    return _compact({name: value for name, value in recorded.items() if value != CIRCUMSTANCES[name]}).decode()


def _digest(value: object) -> bytes:
    return blake2b(_compact(value), digest_size=DIGEST_BYTES).digest()


def client(record: OutcomeRecord) -> DatabaseRow:
    """The row of `clients`, without its digest."""
    return {"ip": record.client_ip, "helo": record.helo}


def policy(record: OutcomeRecord) -> tuple[bytes, DatabaseRow] | None:
    """Digest and row of `policies`; None if no policy record applies."""
    if record.policy is None:
        return None
    row = _columns(record.policy, POLICY_COLUMNS)
    row |= {name: json.dumps(getattr(record.policy, name)) for name in POLICY_LIST_COLUMNS}
    return _digest(row), row


def verdict(record: OutcomeRecord) -> DatabaseRow:
    """The row of `verdicts`, without its references."""
    detail = _without(outcome_record.as_values(record), (*MESSAGE_FIELDS, *record.FORMER_KEYS.values()))
    detail["arc"] = _without(detail["arc"], record.arc.FORMER_KEYS.values())
    detail["dmarc"] = _without(detail["dmarc"], record.dmarc.FORMER_KEYS.values())
    for name, columns in PART_COLUMNS.items():
        remaining = [_without(part, columns) for part in detail.pop(name)]
        if any(remaining):
            detail[name] = remaining
    if record.policy is not None:
        detail["policy"] = _without(detail["policy"], (*POLICY_COLUMNS, *POLICY_LIST_COLUMNS))
    mechanisms = {identifier.mechanism for identifier in record.dmarc.aligned}
    row: DatabaseRow = {"spf_aligned": "spf" in mechanisms, "dkim_aligned": "dkim" in mechanisms}
    for column, path in VERDICT_PATHS.items():
        row[column], detail = _taken(detail, path)
    return row | {"detail": _compact(detail).decode()}


def _taken(values: Detail, path: tuple[str, ...]) -> tuple[Any, Detail]:
    """The value at a path of one or two keys, and a copy of `values` without it."""
    first, *deeper = path
    if not deeper:
        return values.get(first), _without(values, (first,))
    nested = values.get(first)
    if nested is None:
        return None, values
    return nested.get(deeper[0]), values | {first: _without(nested, (deeper[0],))}


def _without(values: Detail, names: Iterable[str]) -> Detail:
    return {name: value for name, value in values.items() if name not in names}


def signatures(record: OutcomeRecord) -> list[DatabaseRow]:
    """The rows of `signatures`, without their verdict."""
    return _parts(record.dkim, SIGNATURE_COLUMNS)


def overrides(record: OutcomeRecord) -> list[DatabaseRow]:
    """The rows of `overrides`, without their verdict."""
    return _parts(record.overrides, OVERRIDE_COLUMNS)


def _parts(parts: Iterable[msgspec.Struct], columns: Iterable[str]) -> list[DatabaseRow]:
    return [_columns(part, columns) | {"position": number} for number, part in enumerate(parts)]


def _columns(part: msgspec.Struct, columns: Iterable[str]) -> DatabaseRow:
    """A column is NULL where an older version did not record the field."""
    values = {name: getattr(part, name) for name in columns}
    return {name: None if value is UNSET else value for name, value in values.items()}


class StoredOutcome(Value):
    """All rows of one outcome."""

    outcome: DatabaseRow
    verdict: DatabaseRow
    policy: DatabaseRow | None
    client: DatabaseRow
    signatures: list[DatabaseRow]
    overrides: list[DatabaseRow]


def rebuilt(stored: StoredOutcome) -> OutcomeRecord:
    """Rebuild the outcome record as it was in the journal. UndecodableError if the rows hold no outcome record."""
    try:
        return outcome_record.from_values(_values(stored))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from error


def _values(stored: StoredOutcome) -> Detail:
    outcome = stored.outcome
    values: Detail = json.loads(stored.verdict["detail"])
    values |= {
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
    for name, rows in (("dkim", stored.signatures), ("overrides", stored.overrides)):
        details = values.get(name) or [{}] * len(rows)
        columns = PART_COLUMNS[name]
        values[name] = [_read(row, columns) | detail for row, detail in zip(rows, details, strict=True)]
    if outcome["detail"] is not None or outcome["message_id_hash"] is not None:
        values["message_id_hash"] = hex_digits(outcome["message_id_hash"])
    if outcome["detail"] is not None:
        values |= USUAL_CIRCUMSTANCES | json.loads(outcome["detail"])
    if stored.policy is not None:
        values["policy"] |= _read(stored.policy, POLICY_COLUMNS)
        values["policy"] |= {name: json.loads(stored.policy[name]) for name in POLICY_LIST_COLUMNS}
    for column, value in _read(stored.verdict, VERDICT_PATHS).items():
        first, *deeper = VERDICT_PATHS[column]
        if not deeper:
            values[first] = value
        elif values.get(first) is not None:
            values[first][deeper[0]] = value
    return values


def _read(row: DatabaseRow, columns: Iterable[str]) -> Detail:
    return {name: bool(row[name]) if name in FLAG_COLUMNS else row[name] for name in columns}

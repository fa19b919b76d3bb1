# ruff: noqa: T201  the figures are printed
"""What the history costs: outcomes a second into the store, octets for each, time for a day's reading and statistics.

python bench/history.py [OUTCOMES] [DATABASE URL]     default: 100000, a SQLite file in a temporary folder

The mail is made up, and meant to be hard on the store: AUTHORS domains of very different volume, many clients, and
one message in ten with a return path that nobody else has.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dmarcmilter.history import stats  # noqa: E402
from dmarcmilter.history.ingest import Ingest  # noqa: E402
from dmarcmilter.history.store import Store, rows, stream  # noqa: E402

AUTHORS = 100_000
CLIENTS = 200_000
DAY = datetime(2026, 11, 21, tzinfo=UTC)
FILES = 4

DAY_SQL = """
    SELECT p.domain, v.policy_id, v.id, c.ip, count(*)
    FROM outcomes o JOIN verdicts v ON v.id = o.verdict_id JOIN policies p ON p.id = v.policy_id
        JOIN clients c ON c.id = o.client_id
    WHERE o.day = :day GROUP BY p.domain, v.policy_id, v.id, c.ip ORDER BY p.domain, v.policy_id, v.id"""
"""What all aggregate reports of a day are made from."""


def records(
    outcomes: int, *, seed: int = 1, authors: int = AUTHORS, clients: int = CLIENTS
) -> Iterator[dict[str, Any]]:
    """Outcome objects in the order of a day."""
    chance = random.Random(seed)  # noqa: S311  no secret
    for number in range(outcomes):
        # A few domains send most of the mail.
        author = int(authors ** chance.random()) - 1
        sender = int(clients ** chance.random()) - 1
        yield record(number, DAY + timedelta(days=number / outcomes), author, sender, chance)


def record(number: int, when: datetime, author: int, sender: int, chance: random.Random) -> dict[str, Any]:
    domain = f"author{author}.example"
    passed, signed = author % 10 != 3 and chance.random() < 0.93, author % 5 != 4
    return_path = f"b{number}.mailer{author % 50}.example" if chance.random() < 0.1 else domain
    spf = "none" if author % 17 == 5 else "pass" if passed else chance.choice(["fail", "softfail"])
    dkim = [signature(domain, "pass" if passed else "fail")] if signed else []
    if author % 3 == 0:
        dkim.append(signature(f"esp{author % 20}.example", "pass"))
    policy = published(author, domain) if author % 4 else None
    result = "none" if policy is None else "pass" if passed else "fail"
    wanted = policy["p"] if policy and result == "fail" else "none"
    softened = wanted == "reject" and chance.random() < 0.05
    done = "quarantine" if softened else wanted
    action = {"none": "accept"}.get(done, done)
    return {
        "v": 1,
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "queue_id": f"4{number:08X}zr{author % 10}",
        "message_id_hash": f"{chance.getrandbits(64):016x}",
        "client_ip": f"198.{sender >> 16}.{sender >> 8 & 255}.{sender & 255}",
        "helo": f"mx{sender}.sender.example",
        "mail_from_domain": return_path,
        "author_domain": domain,
        "author_problem": None,
        "author_domains": [domain],
        "size": chance.randrange(2_000, 200_000),
        "truncated": None,
        "spf": {"result": spf, "domain": return_path, "scope": "mfrom", "reason": ""},
        "dkim": dkim,
        "arc": {"result": "none", "sealers": [], "oldest_pass": None, "reason": ""},
        "policy": policy,
        "dmarc": {
            "result": result,
            "aligned": [{"mechanism": "dkim", "domain": domain, "mode": "r"}] if result == "pass" else [],
            "requested": policy and policy["p"],
            "published": policy and policy["p"],
            "tag": "p" if policy else None,
            "reason": "" if result == "pass" else f"no policy record for {domain}" if not policy else "nothing passed",
            "troubles": [],
        },
        "disposition": done,
        "overrides": [{"type": "mailing_list", "comment": "List-Id present", "rfc7489": "mailing_list"}] * softened,
        "sampled_out": False,
        "mode": "enforce",
        "action": action,
        "would": action,
        "would_disposition": done,
        "exempt": "nobody",
        "deferred_for": None,
        "draws": {"pct": None, "rollout": None},
        "client_names": None,
        "lists": {"ids": [], "traces": []},
        "sealed": None,
        "seal_reason": None,
        "dns": {
            "queries": chance.randrange(8),
            "cache_hits": chance.randrange(8),
            "milliseconds": round(chance.expovariate(0.05), 2),
        },
        "milliseconds": round(chance.expovariate(0.04), 2),
    }


def signature(domain: str, result: str) -> dict[str, Any]:
    return {
        "result": result,
        "domain": domain,
        "selector": "s2026",
        "algorithm": "rsa-sha256",
        "reason": "" if result == "pass" else "the body was changed",
        "testing": False,
    }


def published(author: int, domain: str) -> dict[str, Any]:
    p = ("none", "quarantine", "reject")[author % 3]
    rua = [] if author % 7 == 0 else [f"mailto:dmarc@{domain}"]
    tags = ["v=DMARC1", f"p={p}", *(f"rua={uri}" for uri in rua), *(["adkim=x"] if author % 29 == 0 else [])]
    return {
        "domain": domain,
        "p": p,
        "sp": None,
        "np": None,
        "adkim": "r",
        "aspf": "r",
        "pct": None,
        "t": None,
        "psd": "u",
        "fo": "0",
        "rua": rua,
        "ruf": [],
        "record": "; ".join(tags),
        "usable": True,
        "discovery": "treewalk",
        "organizational_domain": domain,
        "notes": [],
    }


def write_journal(folder: Path, outcomes: int) -> int:
    """The octets written."""
    folder.mkdir(parents=True)
    paths = [folder / f"{DAY:%Y%m%d}-{1_700_000_000_000 + n}-{100 + n}.jsonl" for n in range(FILES)]
    opened = [path.open("wb") for path in paths]
    for number, outcome in enumerate(records(outcomes)):
        opened[number % FILES].write(json.dumps(outcome, separators=(",", ":")).encode() + b"\n")
    for file in opened:
        file.close()
    return sum(path.stat().st_size for path in paths)


def main() -> None:
    outcomes = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{path}/history.db"
        octets = write_journal(path / "journal", outcomes)
        store = Store(url)
        start, processor = time.perf_counter(), time.process_time()
        Ingest(path / "journal", store).once()
        took, used = time.perf_counter() - start, time.process_time() - processor
        print(f"ingest       {outcomes / took:10.0f} outcomes/s   {outcomes / used:10.0f} /s of processor time")
        print(f"journal      {octets / outcomes:10.0f} octets an outcome")
        print(f"store        {size(store, path) / outcomes:10.0f} octets an outcome")
        measure(store)
        store.close()


def measure(store: Store) -> None:
    with store.reading() as connection:
        for table in ("outcomes", "verdicts", "policies", "clients", "signatures"):
            print(f"{table:12} {rows(connection, f'SELECT count(*) FROM {table}')[0][0]:10} rows")  # noqa: S608
        start = time.perf_counter()
        found = sum(1 for _ in stream(connection, DAY_SQL, day=int(f"{DAY:%Y%m%d}")))
        print(f"report rows  {found:10} read in {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        stats.gather(connection, stats.Period(DAY, DAY + timedelta(days=1)))
        print(f"statistics   {time.perf_counter() - start:10.2f} s")


def size(store: Store, folder: Path) -> int:
    if store.is_sqlite:
        return (folder / "history.db").stat().st_size
    with store.reading() as connection:
        return int(rows(connection, "SELECT pg_database_size(current_database())")[0][0])


if __name__ == "__main__":
    main()

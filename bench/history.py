# ruff: noqa: T201  the figures are printed
"""What the history costs: outcomes a second into the store, bytes for each, a day's statistics and reports, a purge.

python bench/history.py [OUTCOMES [AUTHORS [DATABASE URL]]]   default: 100000, 100000, SQLite in a temporary folder

The mail is made up, and meant to be hard on the store: AUTHORS domains of very different volume, many clients, and
one message in ten with a return path of its own.
"""

import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: E402

from dmarcmilter.config.schema import ReportsSection  # noqa: E402
from dmarcmilter.dmarc.discovery import Method  # noqa: E402
from dmarcmilter.dmarc.public_suffix import Suffixes  # noqa: E402
from dmarcmilter.dns.lookup import Answer, Status  # noqa: E402
from dmarcmilter.history import retention  # noqa: E402
from dmarcmilter.history import statistics as stats  # noqa: E402
from dmarcmilter.history.ingest import Ingest  # noqa: E402
from dmarcmilter.history.store import Store, rows  # noqa: E402
from dmarcmilter.reasons import Code, Reason  # noqa: E402
from dmarcmilter.reports.delivery.dkim_signing import ReportSigner  # noqa: E402
from dmarcmilter.reports.delivery.parallel_verification import ReportDns  # noqa: E402
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult, Mail  # noqa: E402
from dmarcmilter.reports.run import Run  # noqa: E402

AUTHORS = 100_000
CLIENTS = 200_000
DAY = datetime(2026, 11, 21, tzinfo=UTC)
FILES = 4


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
    why = {
        "pass": None,
        "none": Reason.of(Code.NO_POLICY_RECORD, domain=domain),
        "fail": Reason.of(Code.NO_ALIGNED_IDENTIFIER),
    }[result]
    traces = {
        "comment": str(Reason.of(Code.MAILING_LIST_TRACES, field="List-Id")),
        "comment_code": Code.MAILING_LIST_TRACES,
        "comment_parameters": {"field": "List-Id"},
    }
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
        "author_unread": False,
        "size": chance.randrange(2_000, 200_000),
        "truncated": None,
        "spf": {"result": spf, "domain": return_path, "scope": "mfrom", "reason": ""},
        "dkim": dkim,
        "unsigned_duplicates": [],
        "arc": {
            "result": "none",
            "sealers": [],
            "oldest_pass": None,
            "unresolved": None,
            "unsettled": None,
            "unvouched": None,
            "reason": "",
        },
        "policy": policy,
        "discovery_notes": [],
        "faulty_records": [],
        "record_faults": [],
        "other_discovery": {"differs": [], "method": "psl"},
        "dmarc": {
            "result": result,
            "aligned": [{"mechanism": "dkim", "domain": domain, "mode": "r"}] if result == "pass" else [],
            "requested": policy and policy["p"],
            "published": policy and policy["p"],
            "tag": "p" if policy else None,
            **reason_values(why),
            "dns_failures": [],
            "troubles": [],
            "possibly_aligned": [],
        },
        "disposition": done,
        "overrides": [{"type": "mailing_list", **traces, "rfc7489": "mailing_list"}] * softened,
        "sampled_out": False,
        "mode": "enforce",
        "action": action,
        "would_action": action,
        "would": action,
        "would_disposition": done,
        "exempt": "nobody",
        "deferred_for": None,
        "deferral_unrecorded": False,
        "draws": {"pct": None, "rollout": None},
        "client_names": None,
        "lists": {"ids": [], "traces": []},
        "quarantine_method": None,
        "set_apart": None,
        "apply_error": None,
        "quarantine_method_reason": None,
        "set_apart_reason": None,
        "sealed": None,
        "seal_reason": None,
        "dns": {
            "queries": chance.randrange(8),
            "cache_hits": chance.randrange(8),
            "milliseconds": round(chance.expovariate(0.05), 2),
        },
        "milliseconds": round(chance.expovariate(0.04), 2),
    }


def reason_values(reason: Reason | None) -> dict[str, Any]:
    """Text, code and parameters of a reason in a record."""
    if reason is None:
        return {"reason": ""}
    parameters = {"reason_parameters": dict(reason.parameters)} if reason.parameters else {}
    return {"reason": str(reason), "reason_code": reason.code} | parameters


def signature(domain: str, result: str) -> dict[str, Any]:
    return {
        "result": result,
        "domain": domain,
        "selector": "s2026",
        "algorithm": "rsa-sha256",
        **reason_values(None if result == "pass" else Reason.of(Code.BODY_HASH_MISMATCH)),
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
        "author_exists": None,
        "notes": [],
    }


def write_journal(folder: Path, outcomes: int, authors: int) -> int:
    """Write a journal; returns the number of bytes."""
    folder.mkdir(parents=True)
    paths = [folder / f"{DAY:%Y%m%d}-{1_700_000_000_000 + n}-{100 + n}.jsonl" for n in range(FILES)]
    opened = [path.open("wb") for path in paths]
    for number, outcome in enumerate(records(outcomes, authors=authors)):
        opened[number % FILES].write(json.dumps(outcome, separators=(",", ":")).encode() + b"\n")
    for file in opened:
        file.close()
    return sum(path.stat().st_size for path in paths)


def ingest(folder: Path, url: str, outcomes: int) -> None:
    store = Store(url)
    start = time.perf_counter()
    Ingest(folder / "journal", store).once()
    took = time.perf_counter() - start
    print(f"  {outcomes / took:.0f} outcomes/s, {size(store, folder) / outcomes:.0f} bytes each in the store")
    with store.reading() as connection:
        for table in ("outcomes", "verdicts", "policies", "clients", "signatures"):
            print(f"  {table}: {rows(connection, f'SELECT count(*) FROM {table}')[0][0]} rows")  # noqa: S608
    store.close()


def statistics(url: str) -> None:
    store = Store(url)
    with store.reading() as connection:
        statistics_of_day = stats.gather(connection, stats.Period(DAY, DAY + timedelta(days=1)), Suffixes.load())
    print(f"  of {statistics_of_day.messages} messages of {statistics_of_day.survey.domains} Author Domains")
    store.close()


class Taker:
    """A relay that takes everything at once: what is measured is our part."""

    def __init__(self) -> None:
        self.messages = self.message_bytes = 0

    def send(self, mail: Mail, committing: Callable[[], None]) -> DeliveryAttempt:
        committing()
        self.messages += 1
        self.message_bytes += len(mail.message)
        return DeliveryAttempt(DeliveryResult.SENT)

    def close(self) -> None:
        """Nothing is open."""


def no_dns(name: str, rdtype: str) -> Answer:  # noqa: ARG001
    """DNS that answers at once: all addresses are in their own domain, so nothing is asked but for organizations."""
    return Answer(Status.NODATA)


def reports(url: str) -> None:
    """From the store to the relay, signed with RSA of 2,048 bits."""
    store, taker = Store(url), Taker()
    settings = ReportsSection(enabled=True, email="dmarc@receiver.example", max_per_hour=10**9, max_per_domain=10**9)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    dns = ReportDns(lambda: nullcontext(no_dns), Suffixes.load(""), Method.TREEWALK)
    clock = (DAY + timedelta(days=1, hours=3)).timestamp()
    spent: dict[str, float] = {}
    last = time.perf_counter()

    def progress(step: str, _done: int, _total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[step] = spent.get(step, 0.0) + now - last
        last = now

    run = Run(
        store, settings, dns, taker, ReportSigner("receiver.example", "s", pem), clock=lambda: clock, progress=progress
    )
    done = run.go()
    print(f"  {done.sent} reports sent, {taker.message_bytes / 1e6:.0f} MB, {done.stopped or 'all that was due'}")
    print("  " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in spent.items()))
    store.close()


def purging(url: str) -> None:
    store = Store(url)
    start = time.perf_counter()
    gone = retention.purge(store, 99_991_231)
    print(f"  {gone / (time.perf_counter() - start):.0f} outcomes/s removed, with all that they alone used")
    store.close()


def measured(name: str, work: Callable[[], None]) -> None:
    """In a process of its own, so that its memory is known."""
    print(name, flush=True)
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            sys.stdout.flush()
        except BaseException:  # noqa: BLE001  shown, and the next figure is still wanted
            traceback.print_exc()
        os._exit(0)
    usage = os.wait4(pid, 0)[2]
    took = time.perf_counter() - start
    print(f"  {took:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of processor, peak {usage.ru_maxrss / 1024:.0f} MB")


def main() -> None:
    outcomes = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    authors = int(sys.argv[2]) if len(sys.argv) > 2 else AUTHORS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        url = sys.argv[3] if len(sys.argv) > 3 else f"sqlite:///{path}/history.db"
        print(f"{outcomes} outcomes of {authors} possible Author Domains")
        journal_bytes = write_journal(path / "journal", outcomes, authors)
        print(f"journal: {journal_bytes / outcomes:.0f} bytes each")
        measured("ingest", lambda: ingest(path, url, outcomes))
        measured("statistics of the day", lambda: statistics(url))
        measured("aggregate reports of the day", lambda: reports(url))
        measured("a second run, with nothing due", lambda: reports(url))
        measured("purge of everything", lambda: purging(url))


def size(store: Store, folder: Path) -> int:
    if store.is_sqlite:
        return (folder / "history.db").stat().st_size
    with store.reading() as connection:
        return int(rows(connection, "SELECT pg_database_size(current_database())")[0][0])


if __name__ == "__main__":
    main()

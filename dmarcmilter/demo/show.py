"""The demonstration: deliver samples to a real filter over the milter protocol, and print a table of the results."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import dmarcmilter
from dmarcmilter.demo.sample_messages import LIST_DOMAIN, Sample, samples, zone
from dmarcmilter.outcome_record import OutcomeRecord, decoded
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer

START_SECONDS = 20.0
"""Seconds to wait for the filter to start or to stop; then the demonstration fails."""
AUTHSERV_ID = "mx.demo.example"

CONF = """\
[milter]
socket = "unix:{state}/demo.sock"
workers = {workers}
[identity]
authserv_id = "{authserv_id}"
[dns]
nameservers = ["127.0.0.1:{port}"]
[policy]
mode = "enforce"
sampling_key = "{state}/sampling.key"
[arc]
trusted_sealers = ["{sealer}"]
[history]
journal = "{state}/journal"
database = "sqlite:///{state}/history.db"
[log]
level = "error"
"""


def show() -> None:
    """Deliver the samples to a filter with a conf of its own, and print what it did with each."""
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-demo-") as state, NameServer(zone()) as server:
        conf = write_conf(Path(state), server.port)
        with running(conf, Path(state) / "demo.sock"), MilterClient(f"unix:{state}/demo.sock") as client:
            rows = [_deliver(client, number, sample) for number, sample in enumerate(samples(), 1)]
        records = _journal(Path(state) / "journal")
    _print(rows, records)


def write_conf(state: Path, port: int, *, workers: int = 1) -> Path:
    """Write the conf file of a filter that keeps all its files in `state` and asks the name server on `port`."""
    conf = state / "demo.toml"
    text = CONF.format(state=state, port=port, authserv_id=AUTHSERV_ID, sealer=LIST_DOMAIN, workers=workers)
    conf.write_text(text, encoding="utf-8")
    return conf


@contextmanager
def running(conf: Path, socket: Path) -> Iterator[int]:
    """Run a filter process until the block ends, and give its process id."""
    command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(conf)]
    # The process must find the same program: a distribution package keeps it outside of Python's own path.
    environment = os.environ | {"PYTHONPATH": str(Path(dmarcmilter.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    filter_process = subprocess.Popen(command, env=environment)  # noqa: S603  the command is our own
    try:
        end = time.monotonic() + START_SECONDS
        while not socket.exists():
            if filter_process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the filter does not start; its messages are above")
            time.sleep(0.02)
        yield filter_process.pid
    finally:
        filter_process.send_signal(signal.SIGTERM)
        filter_process.wait(START_SECONDS)


def _deliver(client: MilterClient, number: int, sample: Sample) -> tuple[Sample, str, str]:
    """The sample, its queue id, and the answer that the SMTP client gets."""
    queue_id = f"DEMO{number:02}"
    verdict = client.deliver(
        sample.message,
        client_ip=sample.client_ip,
        helo=sample.helo,
        mail_from=sample.mail_from,
        queue_id=queue_id,
    )
    code, text = verdict.reply
    return sample, queue_id, "250 accepted" if code < 400 else f"{code} {text}"


def _journal(directory: Path) -> dict[str | None, OutcomeRecord]:
    lines = [line for file in sorted(directory.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return {record.queue_id: record for record in map(decoded, lines)}


def _print(rows: list[tuple[Sample, str, str]], records: dict[str | None, OutcomeRecord]) -> None:
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "150"))
    console = Console(width=width)
    table = Table(
        title=f'What the filter does with mode = "enforce" and {LIST_DOMAIN} as a trusted sealer',
        title_justify="left",
        show_lines=True,
    )
    for heading in ("message", "SPF", "DKIM", "ARC", "DMARC", "disposition", "why", "the client is told"):
        table.add_column(heading, overflow="fold")
    for sample, queue_id, answer in rows:
        record = records[queue_id]
        dkim = ", ".join(signature.result for signature in record.dkim) or "none"
        cells = (
            sample.title,
            record.spf.result,
            dkim,
            record.arc.result,
            record.dmarc.result,
            _disposition(record),
            _why(record),
            answer,
        )
        table.add_row(*map(escape, cells))
    console.print(table)


def _disposition(record: OutcomeRecord) -> str:
    return "none (delivered)" if record.action == "accept" else f"{record.disposition} ({record.action})"


def _why(record: OutcomeRecord) -> str:
    if record.overrides:
        return "; ".join(f"{override.type}: {override.comment}" for override in record.overrides)
    if record.author_problem:
        return f"From: {record.author_problem}"
    dmarc = record.dmarc
    if dmarc.result == "fail" and record.policy:
        return f"not aligned; {dmarc.tag}={dmarc.published} of {record.policy.domain}"
    if dmarc.result == "pass":
        return ", ".join(f"{identifier.mechanism.upper()} of {identifier.domain}" for identifier in dmarc.aligned)
    return str(dmarc.reason)

"""What only trying tells: name servers, the journal's folder, the database, the relay of reports, the filter itself."""

import os
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path

from dmarcmilter.config.endpoint import Socket, parse_listen
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.report_validation import parse_relay
from dmarcmilter.config.schema import Config, StartTls
from dmarcmilter.config_check import files, mta, name_servers, running_filter
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.dns import system_nameservers
from dmarcmilter.health import workers_probe
from dmarcmilter.health.milter_probe import ProbeError
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store, StoreError, rows
from dmarcmilter.postfix.accounts import acting_as

RELAY_SECONDS = 10.0
METRICS_SECONDS = 5.0
LITTLE_SPACE = 256 * 1024 * 1024
"""Octets left on the journal's disk: some 200,000 outcomes."""


def try_all(config: Config, environment: Environment) -> list[Finding]:
    servers = config.dns.servers() or system_nameservers()
    return [
        *name_servers.findings(servers, config.dns.timeout),
        *_journal(config, environment),
        *_database(config, environment),
        *_relay(config),
        *_metrics(config),
        *running_filter.findings(config.milter.socket, environment),
        *mta.live_findings(config, environment),
    ]


def _journal(config: Config, environment: Environment) -> list[Finding]:
    journal = Path(config.history.journal)
    try:
        with acting_as(environment.account):
            free = _written(journal)
    except OSError as problem:
        if environment.unit is not None and environment.unit.makes(str(journal)) and not os.access(journal, os.F_OK):
            return [ok(f"[history] journal: {journal} is made when the filter starts")]
        reason = problem.strerror or problem
        text = f"[history] journal: {journal} cannot be written as {environment.who}: {reason}, so outcomes are lost"
        return [error(f"{text}: {files.command_to_make_writable(str(journal), environment)}")]
    if free < LITTLE_SPACE:
        return [warning(f"[history] journal: only {free >> 20} MB are left on the disk of {journal}")]
    return [ok(f"[history] journal: {journal} can be written as {environment.who}, {free >> 20} MB free")]


def _written(journal: Path) -> int:
    """Write a file there and remove it; where the folder is not there yet, make one in its place, and remove it.

    The octets that are free; OSError.
    """
    nearest = files.existing(journal)
    if nearest == journal:
        with tempfile.NamedTemporaryFile(prefix=".check-", dir=journal) as draft:
            draft.write(b"x" * 4096)
            draft.flush()
            os.fsync(draft.fileno())
    else:
        Path(tempfile.mkdtemp(prefix=".check-", dir=nearest)).rmdir()
    room = os.statvfs(nearest)
    return room.f_bavail * room.f_frsize


def _database(config: Config, environment: Environment) -> list[Finding]:
    url = config.history.database
    with acting_as(environment.account):
        try:
            store = Store(url)
            # SQLite makes the file of a database that it is asked for: asking must not.
            if store.is_missing:
                return [ok("[history] database: not there yet, `history ingest` makes it")]
            return [_asked(store)]
        except StoreError as problem:
            text = f"[history] database: {_without_password(str(problem), url)}"
    kept_out = url.startswith(files.SQLITE + "/") and "ermission denied" in text
    folder = str(Path(url.removeprefix(files.SQLITE)).parent)
    return [error(f"{text}: {files.command_to_make_writable(folder, environment)}" if kept_out else text)]


def _asked(store: Store) -> Finding:
    try:
        with store.reading() as connection:
            rows(connection, "SELECT 1")
        number = _schema(store)
    finally:
        store.close()
    newest = migrations.MIGRATIONS[-1].number
    if number > newest:
        return error(f"[history] database: its schema {number} is newer than this program's {newest}: upgrade")
    return ok("[history] database: answers" + ("" if number == newest else "; `history ingest` brings it up to date"))


def _schema(store: Store) -> int:
    """0: it has no tables of ours yet."""
    try:
        with store.reading() as connection:
            return int(rows(connection, "SELECT max(number) FROM schema_version")[0][0] or 0)
    except StoreError:
        return 0


def _without_password(text: str, url: str) -> str:
    """Drivers may repeat the address that they were given."""
    secret = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return text.replace(secret, "***") if secret else text


def _metrics(config: Config) -> list[Finding]:
    """Whether the metrics' address is ours: the filter answers there, or nobody does and it can be had."""
    listen = config.metrics.listen
    if not listen:
        return []
    where = parse_listen(listen)
    try:
        workers_probe.workers(where, METRICS_SECONDS)
    except ProbeError as problem:
        if problem.not_listening:
            return _metrics_free(listen, where)
        return [error(f"[metrics] listen: another program answers at {listen} ({problem}): choose another address")]
    return [ok(f"[metrics] listen: the filter answers at {listen}")]


def _metrics_free(listen: str, where: Socket) -> list[Finding]:
    """Nobody answers there: can the address be had?"""
    if where.family != "unix":
        family = socket.AF_INET6 if where.family == "inet6" else socket.AF_INET
        try:
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((where.host, where.port))
        except OSError as problem:
            return [
                error(f"[metrics] listen: {listen}: {problem.strerror}: choose an address of this machine that is free")
            ]
    return [ok(f"[metrics] listen: nobody answers at {listen}; the filter makes it when it starts")]


def _relay(config: Config) -> list[Finding]:
    reports = config.reports
    if not reports.enabled:
        return []
    if not reports.relay:
        usable = os.access(reports.sendmail, os.X_OK)
        text = f"[reports] sendmail: {reports.sendmail}"
        return [ok(f"{text} is there") if usable else error(f"{text} is not a program")]
    host, port = parse_relay(reports.relay)
    try:
        with smtplib.SMTP(host, port, timeout=RELAY_SECONDS) as connection:
            connection.ehlo()
            offers_tls = connection.has_extn("starttls")
            if offers_tls and reports.starttls is StartTls.REQUIRED:
                connection.starttls(context=ssl.create_default_context(cafile=reports.relay_ca_file or None))
    except (OSError, smtplib.SMTPException) as problem:
        return [error(f"[reports] relay: {reports.relay}: {problem}")]
    if reports.starttls is StartTls.REQUIRED and not offers_tls:
        return [error(f"[reports] relay: {reports.relay} offers no STARTTLS, which starttls requires")]
    return [ok(f"[reports] relay: {reports.relay} answers")]

"""Checks that have to try a service: name servers, the journal's disk, the database, the report relay, the filter."""

import os
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path

from dmarcmilter.config import folder_access
from dmarcmilter.config.account_rights import acting_as
from dmarcmilter.config.endpoint import Socket, parse_listen
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.report_validation import parse_relay
from dmarcmilter.config.schema import Config, StartTls
from dmarcmilter.config_check import files, filter_reachable, mta, name_servers
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.dns.resolver import system_nameservers
from dmarcmilter.health import workers_probe
from dmarcmilter.health.milter_probe import ProbeError
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store, StoreError, rows

RELAY_SECONDS = 10.0
"""Seconds to wait for each answer of the relay for reports."""
METRICS_SECONDS = 5.0
"""Seconds to wait for an answer at the metrics' address."""
LITTLE_SPACE = 256 * 1024 * 1024
"""Bytes free on the journal's disk below which the check warns: room for about 200,000 outcomes."""
TRIAL_BYTES = 4096
"""Bytes of the file that is written to try whether the journal's disk takes one."""


def try_all(config: Config, environment: Environment) -> list[Finding]:
    """The findings of all checks that connect, ask or write something."""
    servers = config.dns.servers() or system_nameservers()
    return [
        *name_servers.findings(servers, config.dns.timeout),
        *_journal(config, environment),
        *_database(config, environment),
        *_relay(config),
        *_metrics(config),
        *filter_reachable.findings(config.milter.socket, environment),
        *mta.live_findings(config, environment),
    ]


def _journal(config: Config, environment: Environment) -> list[Finding]:
    journal = Path(config.history.journal)
    try:
        with acting_as(environment.account):
            free = _try_to_write(journal)
    except OSError as problem:
        if environment.unit is not None and environment.unit.makes(str(journal)) and not os.access(journal, os.F_OK):
            return [ok(f"[history] journal: {journal} is made when the filter starts")]
        reason = problem.strerror or problem
        text = f"[history] journal: {journal} cannot be written as {environment.tried_user}: {reason}"
        return [error(f"{text}, so outcomes are lost: {files.command_to_make_writable(str(journal), environment)}")]
    if free < LITTLE_SPACE:
        return [warning(f"[history] journal: only {free >> 20} MB are left on the disk of {journal}")]
    return [ok(f"[history] journal: {journal} can be written as {environment.tried_user}, {free >> 20} MB free")]


def _try_to_write(journal: Path) -> int:
    """Write a file into the journal's folder and remove it; return the free bytes of its disk, or raise OSError.

    If the folder does not exist yet, a folder is made and removed in the lowest one above that exists.
    """
    nearest = folder_access.existing(journal)
    if nearest == journal:
        with tempfile.NamedTemporaryFile(prefix=".check-", dir=journal) as draft:
            draft.write(b"x" * TRIAL_BYTES)
            draft.flush()
            os.fsync(draft.fileno())
    else:
        Path(tempfile.mkdtemp(prefix=".check-", dir=nearest)).rmdir()
    disk = os.statvfs(nearest)
    return disk.f_bavail * disk.f_frsize


def _database(config: Config, environment: Environment) -> list[Finding]:
    url = config.history.database
    with acting_as(environment.account):
        try:
            store = Store(url)
            # Connecting to SQLite creates a missing file, which a check must not do.
            if store.is_missing:
                return [ok("[history] database: not there yet, `history ingest` creates it")]
            return [_query(store)]
        except StoreError as problem:
            text = f"[history] database: {_without_password(str(problem), url)}"
    is_denied = url.startswith(files.SQLITE + "/") and "ermission denied" in text
    folder = str(Path(url.removeprefix(files.SQLITE)).parent)
    return [error(f"{text}: {files.command_to_make_writable(folder, environment)}" if is_denied else text)]


def _query(store: Store) -> Finding:
    """Whether the database answers, and whether its schema is one that this program can use."""
    try:
        with store.reading() as connection:
            rows(connection, "SELECT 1")
        number = _schema_version(store)
    finally:
        store.close()
    newest = migrations.MIGRATIONS[-1].number
    if number > newest:
        return error(f"[history] database: its schema {number} is newer than this program's {newest}: upgrade")
    return ok("[history] database: answers" + ("" if number == newest else "; `history ingest` brings it up to date"))


def _schema_version(store: Store) -> int:
    """Number of the newest migration that the database has had; 0: it has none of our tables yet."""
    try:
        with store.reading() as connection:
            return int(rows(connection, "SELECT max(number) FROM schema_version")[0][0] or 0)
    except StoreError:
        return 0


def _without_password(text: str, url: str) -> str:
    """The error text without the password of the URL, which some drivers repeat."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return text.replace(password, "***") if password else text


def _metrics(config: Config) -> list[Finding]:
    """Check that the filter answers at the metrics' address, or, if no program does, that the filter can use it."""
    listen = config.metrics.listen
    if not listen:
        return []
    address = parse_listen(listen)
    try:
        workers_probe.workers(address, METRICS_SECONDS)
    except ProbeError as problem:
        if problem.not_listening:
            return _unused_address(listen, address)
        return [error(f"[metrics] listen: another program answers at {listen} ({problem}): choose another address")]
    return [ok(f"[metrics] listen: the filter answers at {listen}")]


def _unused_address(listen: str, address: Socket) -> list[Finding]:
    """Check that the filter could listen at the metrics' address, where no program listens now."""
    if address.family != "unix":
        family = socket.AF_INET6 if address.family == "inet6" else socket.AF_INET
        try:
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address.host, address.port))
        except OSError as problem:
            return [
                error(f"[metrics] listen: {listen}: {problem.strerror}: choose an address of this machine that is free")
            ]
    return [ok(f"[metrics] listen: no program listens at {listen} now; the filter listens there once it runs")]


def _relay(config: Config) -> list[Finding]:
    """Check the sendmail program or the SMTP relay that sends reports."""
    reports = config.reports
    if not reports.enabled:
        return []
    if not reports.relay:
        usable = os.access(reports.sendmail, os.X_OK)
        text = f"[reports] sendmail: {reports.sendmail}"
        return [ok(f"{text} is there") if usable else error(f"{text} is not a program that can be run")]
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

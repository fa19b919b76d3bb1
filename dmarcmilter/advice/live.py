"""What only trying tells: name servers, the journal's folder, the database, the relay of reports, the filter itself."""

import os
import smtplib
import ssl
import tempfile
from pathlib import Path

from dmarcmilter.advice import files, mta, nameservers, running
from dmarcmilter.advice.accounts import acting_as
from dmarcmilter.advice.finding import Finding, error, ok, warning
from dmarcmilter.advice.scene import Scene
from dmarcmilter.history import schema
from dmarcmilter.history.store import Store, StoreError, rows
from dmarcmilter.reports.confcheck import parse_relay
from dmarcmilter.resolver import system_nameservers
from dmarcmilter.settings import Config, StartTls

RELAY_SECONDS = 10.0
LITTLE_SPACE = 256 * 1024 * 1024
"""Octets left on the journal's disk: some 200,000 outcomes."""


def try_all(config: Config, scene: Scene) -> list[Finding]:
    servers = config.dns.servers() or system_nameservers()
    return [
        *nameservers.judge(servers, config.dns.timeout),
        *_journal(config, scene),
        *_database(config, scene),
        *_relay(config),
        *running.judge(config.milter.socket, scene),
        *mta.judge_live(config, scene),
    ]


def _journal(config: Config, scene: Scene) -> list[Finding]:
    journal = Path(config.history.journal)
    try:
        with acting_as(scene.account):
            free = _written(journal)
    except OSError as problem:
        if scene.unit is not None and scene.unit.makes(str(journal)) and not os.access(journal, os.F_OK):
            return [ok(f"[history] journal: {journal} is made when the filter starts")]
        reason = problem.strerror or problem
        return [error(f"[history] journal: {journal} cannot be written as {scene.who}: {reason}")]
    if free < LITTLE_SPACE:
        return [warning(f"[history] journal: only {free >> 20} MB are left on the disk of {journal}")]
    return [ok(f"[history] journal: {journal} can be written as {scene.who}, {free >> 20} MB free")]


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


def _database(config: Config, scene: Scene) -> list[Finding]:
    url = config.history.database
    with acting_as(scene.account):
        try:
            store = Store(url)
            # SQLite makes the file of a database that it is asked for: asking must not.
            if store.is_missing:
                return [ok("[history] database: not there yet, `history ingest` makes it")]
            return [_asked(store)]
        except StoreError as problem:
            return [error(f"[history] database: {_without_password(str(problem), url)}")]


def _asked(store: Store) -> Finding:
    try:
        with store.reading() as connection:
            rows(connection, "SELECT 1")
        number = _schema(store)
    finally:
        store.close()
    newest = schema.MIGRATIONS[-1].number
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

"""A store with outcomes, a receiver that keeps what it takes, a clock turned by hand: whole runs of reports on them."""

import email
import email.policy
import gzip
import re
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime
from xml.etree import ElementTree as ET

from dmarcmilter.config.schema import FailureReportsSection, ReportsSection
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.history import migrations, outcome_rows
from dmarcmilter.history.outcome_writer import Advance, Writer
from dmarcmilter.history.store import Store
from dmarcmilter.outcome_record import encoded
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from dmarcmilter.reports.delivery.parallel_verification import ReportDns
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult
from dmarcmilter.reports.run import Run, RunRequest
from dmarcmilter.value import replace
from tests.support.report_outcomes import outcome, passed
from tests.support.zone import Zone

NOW = datetime(2027, 1, 17, 3, 0, tzinfo=UTC).timestamp()
YESTERDAY = date(2027, 1, 16)
SETTINGS = ReportsSection(enabled=True, email="dmarc@receiver.example", bounce_address="b+{token}@receiver.example")
SUFFIXES = Suffixes.of_text("com\nnet\norg\nexample\n")
ZONE = {"*._report._dmarc.vendor.example": "v=DMARC1"}


class Crashed(BaseException):
    """The process ends here."""


class FaultyStore(Store):
    """Ends the process at one of its points: before or after a transaction."""

    def __init__(self, url):
        super().__init__(url)
        self.left = None

    def point(self):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Crashed

    @contextmanager
    def writing(self):
        self.point()
        with super().writing() as connection:
            yield connection
        self.point()


class Receiver:
    """A transport that remembers what it took; `answers` by address, else it takes all."""

    def __init__(self, store=None, answers=None):
        self.store = store
        self.answers = answers or {}
        self.taken = []

    def send(self, mail, committing):
        answer = self.answers.get(mail.rcpt_to, DeliveryAttempt(DeliveryResult.SENT))
        if answer.result in {DeliveryResult.SENT, DeliveryResult.UNCERTAIN}:
            committing()
            self.point()
            self.taken.append(mail)
            self.point()
        return answer

    def point(self):
        if self.store:
            self.store.point()

    def close(self):
        pass

    @property
    def ids(self):
        return sorted((report_id(mail), mail.rcpt_to) for mail in self.taken)


def parsed(mail):
    return email.message_from_bytes(mail.message, policy=email.policy.default)


def report_id(mail):
    return re.search(r"Report-ID: (\S+)", parsed(mail)["subject"])[1]


def xml(mail):
    (attachment,) = parsed(mail).iter_attachments()
    return gzip.decompress(attachment.get_content()).decode().replace(' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"', "")


def counted(mail):
    return sum(int(count.text) for count in ET.fromstring(xml(mail)).iter("count"))


class Site:
    """A store with outcomes, a receiver, and a clock that is turned by hand."""

    def __init__(self, directory, url="", **settings):
        self.store = FaultyStore(url or f"sqlite:///{directory}/history.db")
        migrations.migrate(self.store)
        self.writer = Writer(self.store)
        self.files = 0
        self.spool = directory / "failures"
        failure = FailureReportsSection(enabled=True, spool=str(self.spool))
        self.settings = replace(SETTINGS, **{"failure": failure} | settings)
        self.now = NOW
        self.zone = Zone(ZONE)
        self.receiver = Receiver(self.store)
        self.suffixes = SUFFIXES

    def ingest(self, *records):
        self.files += 1
        lines = [outcome_rows.parse(encoded(record)) for record in records]
        assert self.writer.write(lines, Advance(bytes([self.files]), str(self.files), 0, 1, 0))

    def run(self, receiver=None):
        world = ReportDns(lambda: nullcontext(self.zone), self.suffixes, Method.TREEWALK)
        return Run(self.store, self.settings, world, receiver or self.receiver, clock=lambda: self.now)

    def go(self, receiver=None, **ask):
        return self.run(receiver).go(RunRequest(**ask))

    def states(self, kind=ReportKind.AGGREGATE):
        return Deliveries(self.store).counts(kind)


def domain(name, **changes):
    """Changes to an outcome that make it one of another policy domain."""
    policy = {"domain": name, "rua": [f"mailto:dmarc@{name}"], "organizational_domain": name}
    return {"author_domain": name, "policy": policy | changes}


def some(world):
    """Three domains, one with two destinations."""
    two = ["mailto:dmarc@two.example", "mailto:two@vendor.example"]
    world.ingest(
        passed(), passed(), outcome(), passed(**domain("one.example")), passed(**domain("two.example", rua=two))
    )

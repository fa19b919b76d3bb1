"""Statistics: every number is counted by hand here, on both databases; and the command in all its forms."""

import csv
import io
import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.history import adoption_survey as survey_module
from dmarcmilter.history.adoption_survey import SIGNERS, TYPE_TEXTS, TYPES, DifferingDomain, Share
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.statistics import (
    AuthenticatedSender,
    FailingSource,
    Moment,
    OverrideCount,
    Period,
    RefusedAuthor,
    StepLength,
    gather,
)
from dmarcmilter.policy.rules import Exempt
from dmarcmilter.value import replace
from tests.support import journals, outcomes
from tests.support.journals import record
from tests.support.outcomes import SUFFIXES

DAY = datetime(2027, 1, 15, tzinfo=UTC)
NO_SPF = {"result": "none", "domain": None, "scope": "mfrom", "reason": ""}
SPF = {"result": "softfail", "domain": "x.example", "scope": "mfrom", "reason": ""}
PERIOD = Period(DAY, DAY + timedelta(days=1))


@pytest.fixture
def gathered(store, tmp_path):
    """Statistics of records."""

    def run(records, period=PERIOD, **options):
        journals.append(tmp_path / "journal", records)
        Ingest(tmp_path / "journal", store).once()
        with store.reading() as connection:
            return gather(connection, period, SUFFIXES, **options)

    return run


def counts(found):
    return {count.name: count.messages for count in found if count.messages}


def shares(found):
    return {share.name: (share.domains, share.messages) for share in found if share.domains or share.messages}


def test_nothing(gathered):
    found = gathered([])
    assert (found.messages, found.octets, found.cost.queries, found.survey.domains) == (0, 0, 0, 0)
    assert len(found.timeline) == 24
    assert not found.refused
    assert [share.name for share in found.survey.types] == list("ABCDEF")


def test_what_was_done_and_would_be(gathered):
    kinds = ("reject", "reject", "monitored", "quarantine", "pass", "no record", "temperror")
    found = gathered([record(kind) for kind in kinds])
    assert found.messages == 7
    assert found.octets == 7000
    assert counts(found.results) == {"fail": 4, "pass": 1, "none": 1, "temperror": 1}
    assert counts(found.actions) == {"accept": 4, "quarantine": 1, "reject": 2}
    assert counts(found.would) == {"accept": 3, "quarantine": 1, "reject": 3}


def test_monitor_and_rollout_are_counted_as_done_and_as_would(gathered):
    released = [
        outcomes.recorded(outcomes.outcome(rules=outcomes.rules(rollout_percent=40), rollout_draw=draw))
        for draw in (10, 40, 90)
    ]
    listed = outcomes.recorded(outcomes.outcome(rules=outcomes.rules(rollout_domains=["other.example"])))
    opted_out = outcomes.recorded(outcomes.outcome(exempt=Exempt.ALL))
    found = gathered([*released, listed, opted_out, record("monitored")])
    assert counts(found.actions) == {"accept": 5, "reject": 1}
    assert counts(found.would) == {"reject": 6}
    assert counts(found.modes) == {"enforce": 5, "monitor": 1}
    (author,) = found.refused
    assert (author.refused, author.would) == (1, 6)
    assert {row.comment: row.messages for row in found.overrides} == {
        "not in rollout_percent: would be reject": 2,
        "not in rollout_domains: would be reject": 1,
        "all recipients have opted out: would be reject": 1,
        "mode is monitor: would be reject": 1,
    }


def test_the_period_begins_with_its_first_moment_and_ends_before_its_last(gathered):
    times = ("14T23:59:59.999Z", "15T00:00:00.000Z", "15T23:59:59.999Z", "16T00:00:00.000Z")
    found = gathered([record(time=f"2027-01-{time}") for time in times])
    assert found.messages == 2
    assert [found.timeline[0].reject, found.timeline[23].reject] == [1, 1]


def test_timeline(gathered):
    found = gathered(
        [
            record("reject", time="2027-01-15T03:59:00.000Z"),
            record("reject", time="2027-01-15T04:00:00.000Z"),
            record("pass", time="2027-01-15T04:30:00.000Z"),
            record("quarantine", time="2027-01-15T04:59:59.999Z"),
        ]
    )
    assert found.timeline[3] == Moment(DAY + timedelta(hours=3), 0, 0, 1)
    assert found.timeline[4] == Moment(DAY + timedelta(hours=4), 1, 1, 1)
    assert sum(moment.none + moment.quarantine + moment.reject for moment in found.timeline) == 4


def test_long_periods_go_by_day(gathered):
    found = gathered([record()], Period(DAY - timedelta(days=9), DAY + timedelta(days=1)))
    assert len(found.timeline) == 10
    assert found.timeline[-1] == Moment(DAY, 0, 0, 1)


def test_refused_author_domains(gathered):
    found = gathered(
        [
            *(record("reject", author_domain="big.example") for _ in range(3)),
            record("reject", author_domain="small.example"),
            *(record("monitored", author_domain="small.example") for _ in range(4)),
            record("quarantine", author_domain="other.example"),
            record("no author"),
        ]
    )
    assert found.refused == (RefusedAuthor("small.example", 1, 5), RefusedAuthor("big.example", 3, 3))


def test_authenticated_yet_failing(gathered):
    """By SPF or DKIM, a message once for each domain."""
    both = record("reject", spf={"result": "pass", "domain": "list.example", "scope": "mfrom", "reason": ""})
    found = gathered(
        [
            record("reject"),
            record("quarantine", author_domain="b.example"),
            both,
            record("pass"),
            record("null sender", dkim=[], spf=NO_SPF),
        ]
    )
    assert found.authenticated == (
        AuthenticatedSender("list.example", 3, 2, 2),
        AuthenticatedSender("esp.example", 2, 2, 1),
    )


def test_sources_and_top(gathered):
    ips = ["192.0.2.1"] * 3 + ["2001:db8::1"] * 2 + [None]
    records = [record("reject", client_ip=ip, author_domain=f"a{n}.example") for n, ip in enumerate(ips)]
    found = gathered([*records, record("pass", client_ip="192.0.2.9")], top=2)
    assert found.sources == (FailingSource("192.0.2.1", 3, 3), FailingSource("2001:db8::1", 2, 2))


def test_overrides(gathered):
    found = gathered([record("quarantine"), record("quarantine"), record("sampled out"), record("reject")])
    assert found.overrides == (
        OverrideCount("mailing_list", "List-Id present, not authenticated", "", 2),
        OverrideCount("local_policy", "not selected by pct", "", 1),
    )


def test_hits_of_entries_are_counted_by_entry(gathered):
    def hit(entry):
        reason = {"type": "local_policy", "comment": "ticket 1", "rfc7489": "local_policy", "entry": entry}
        return record("quarantine", overrides=[reason])

    found = gathered([hit("esp"), hit("esp"), hit("scanner"), hit(None)])
    assert [(row.entry, row.messages) for row in found.overrides] == [("esp", 2), ("", 1), ("scanner", 1)]
    assert found.overrides[0].reason == "local_policy: ticket 1 [[override]] esp"
    assert found.overrides[1].reason == "local_policy: ticket 1"


def test_cost(gathered):
    dns = {"queries": 3, "cache_hits": 9, "milliseconds": 250.25}
    cost = gathered([record(dns=dns, milliseconds=500.5), record(dns=dns, milliseconds=1.0)]).cost
    assert (cost.queries, cost.cache_hits) == (6, 18)
    assert (cost.dns_seconds, cost.seconds) == pytest.approx((0.5005, 0.5015))


def with_record(domain, text, **changes):
    """Mail from a domain that publishes this record."""
    published = changes.pop("policy", {})
    base = record("pass", author_domain=domain, **changes)
    return base | {"policy": base["policy"] | {"domain": domain, "record": text} | published}


def two_records(name):
    """As the filter writes it."""
    found = outcomes.evidence(name, record="", zone={f"_dmarc.{name}": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]})
    written = outcomes.recorded(outcomes.outcome(found))
    assert written["faulty_records"] == [name]
    return written | {"spf": NO_SPF}


def test_survey_of_records(gathered):
    found = gathered(
        [
            with_record("a.example", "v=DMARC1; p=reject", spf=SPF),
            with_record("a.example", "v=DMARC1; p=reject", spf=NO_SPF),
            with_record("b.example", "v=DMARC1; p=reject; pct=50; ri=5; x=y", spf=NO_SPF),
            with_record("c.example", "v=DMARC1; p=none; adkim=strict", spf=SPF),
            with_record("cc.example", "v=DMARC1; p=none; aspf=strict", spf=SPF),
            with_record("d.example", "v=DMARC1; p=of", spf=NO_SPF, policy={"usable": False}),
            record("no record", author_domain="e.example", spf=SPF),
            record("no record", author_domain="f.example", spf=NO_SPF),
            two_records("g.example"),
            record("no record", author_domain="h.example", spf=NO_SPF),
            record("temperror", author_domain="unknown.example"),
            record("no author"),
        ]
    ).survey
    assert (found.domains, found.messages) == (9, 10)
    assert shares(found.types) == {"A": (1, 2), "B": (2, 2), "C": (1, 1), "D": (2, 2), "E": (1, 1), "F": (2, 2)}
    assert shares(found.faults) == {
        "adkim": (1, 1),
        "aspf": (1, 1),
        "no record that counts": (1, 1),
        "p": (1, 1),
        "unknown tag": (1, 1),
    }


def test_a_sender_cannot_make_a_domain_look_faulty(gathered):
    text = '"faulty_records":["x"]'
    words = record("no record", author_domain="f.example", dmarc=record("no record")["dmarc"] | {"reason": text})
    assert shares(gathered([words]).survey.faults) == {}


def test_survey_counts_the_record_that_most_messages_met(gathered):
    found = gathered(
        [
            *(with_record("a.example", "v=DMARC1; p=reject", spf=SPF) for _ in range(3)),
            *(with_record("a.example", "v=DMARC1; p=bad", spf=SPF, dkim=dkim) for dkim in ([], record()["dkim"])),
        ]
    ).survey
    assert shares(found.types) == {"A": (1, 5)}


@pytest.mark.parametrize("order", [("none", "reject"), ("reject", "none")])
def test_of_two_records_that_equally_many_messages_met_the_same_counts_in_any_order(gathered, order):
    for policy in order:
        text = f"v=DMARC1; p={policy}"
        dmarc = record()["dmarc"] | {"published": policy}
        found = gathered([with_record("a.example", text, policy={"p": policy}, dmarc=dmarc)]).survey
    assert shares(found.policies) == {"none": (1, 2)}


def test_survey_of_policies_and_addresses(gathered):
    address = ["mailto:x@example.com"]

    def publishing(domain, published, rua, ruf):
        base = with_record(domain, "v=DMARC1; p=none", policy={"rua": rua, "ruf": ruf})
        return base | {"dmarc": base["dmarc"] | {"published": published}}

    found = gathered(
        [
            publishing("a.example", "none", address, []),
            publishing("b.example", "none", address, address),
            publishing("c.example", "reject", [], address),
            publishing("d.example", "quarantine", [], []),
            record("no record"),
        ]
    ).survey
    assert shares(found.policies) == {"none": (2, 2), "quarantine": (1, 1), "reject": (1, 1)}
    assert shares(found.addresses) == dict.fromkeys(("rua and ruf", "rua only", "ruf only", "neither"), (1, 1))


def test_kinds_of_faults(gathered):
    found = gathered(
        [
            with_record("a.example", "v=DMARC1; p=monitor", policy={"usable": False}),
            with_record("b.example", "v=DMARC1; p=quarentena; rua=a@b.example", policy={"usable": False}),
            with_record("c.example", "v=DMARC1", policy={"usable": False}),
            with_record("d.example", "v=DMARC1; p=reject; pct=50; ri=5; x=y"),
            with_record("e.example", "v=DMARC1; p=reject"),
            two_records("g.example"),
            unread("h.example", "v=spf1 -all"),
            unread("i.example", "v=DMARC1: p=none"),
            {key: value for key, value in unread("j.example", "v=dmarc1").items() if key != "record_faults"},
            unread("k.example", "v=dmarc1") | {"record_faults": ["of a later version"]},
        ]
    ).survey
    assert shares(found.fault_kinds) == {
        "policy_monitor": (1, 1),
        "policy_misspelled": (1, 1),
        "no_mailto": (1, 1),
        "only_version": (1, 1),
        "unknown_tag": (1, 1),
        "several_records": (1, 1),
        "spf_record": (1, 1),
        "colon_for_semicolon": (1, 1),
        "unknown": (2, 2),
    }
    assert found.types[1].domains + found.types[3].domains == 8


def unread(name, text):
    """What stands at the name's `_dmarc` is no DMARC record; as the filter writes it."""
    return outcomes.recorded(outcomes.outcome(outcomes.evidence(name, record="", zone={f"_dmarc.{name}": text})))


def reporting_to(domain, rua=(), ruf=()):
    return with_record(domain, "v=DMARC1; p=none", policy={"rua": list(rua), "ruf": list(ruf)})


def test_vendors_of_reports(gathered):
    vendor = "mailto:x@rua.vendor.example"
    found = gathered(
        [
            reporting_to("a.example", [vendor]),
            reporting_to("a.example", [vendor]),
            reporting_to("sub.b.example", ["mailto:y@VENDOR.example?subject=x", vendor, "mailto:me@b.example"]),
            reporting_to("c.example", ["https://c.example/r"], ["mailto:f@failures.net"]),
            reporting_to("d.example", ["mailto:x@[192.0.2.1]"], ["mailto:a%40b@other.failures.net!10m"]),
            reporting_to("e.example"),
            record("no record", author_domain="f.example"),
        ]
    ).survey
    assert shares(found.reporting) == {"rua": (4, 5), "ruf": (2, 2)}
    assert found.rua_vendors[0].name == "vendor.example"
    assert shares(found.rua_vendors) == {
        "vendor.example": (2, 3),
        survey_module.OWN_ORGANIZATION: (1, 1),
        survey_module.NOT_MAIL: (1, 1),
        survey_module.NO_DOMAIN: (1, 1),
    }
    assert shares(found.ruf_vendors) == {"failures.net": (1, 1), survey_module.NO_DOMAIN: (1, 1)}


def test_vendors_are_the_largest(gathered):
    records = [reporting_to(f"a{n}.example", [f"mailto:x@v{min(n, 3)}.example"]) for n in range(6)]
    assert [share.name for share in gathered(records, top=2).survey.rua_vendors] == ["v3.example", "v0.example"]


def signed(author, *domains, result="pass", **changes):
    dkim = [record()["dkim"][0] | {"result": result, "domain": domain} for domain in domains]
    return record("no record", author_domain=author, dkim=dkim, **changes)


def test_third_parties(gathered):
    found = gathered(
        [
            signed("a.example", "esp.net", "a1.mail.esp.net", "a.example"),
            signed("a.example", "esp.net"),
            signed("b.example", "b-example.esp.net"),
            signed("b.example", "other.org", result="fail"),
            signed("b.example", "mail.b.example"),
            signed("news.c.example", "c.example", "sub.c.example"),
            signed("d.example"),
            record("no author", dkim=[record()["dkim"][0] | {"result": "pass", "domain": "x.org"}]),
        ]
    ).survey
    assert found.third_parties == (Share("esp.net", 2, 3),)


def test_the_number_of_names_in_memory_is_bounded(gathered, monkeypatch):
    """Those with the fewest domains are forgotten first."""
    monkeypatch.setattr(survey_module, "MAX_NAMES", 3)
    records = [signed(f"a{n:03}.example", f"s{n:03}.org") for n in range(40)]
    found = gathered([*records, *(signed(f"b{n}.example", "esp.net") for n in range(5))]).survey
    assert found.third_parties[0] == Share("esp.net", 5, 5)
    assert len(found.third_parties) <= 6


def test_signers_of_one_author_are_bounded(gathered, monkeypatch):
    monkeypatch.setattr(survey_module, "MAX_SIGNERS", 2)
    found = gathered([signed("a.example", *(f"s{n}.org" for n in range(5)))]).survey
    assert shares(found.third_parties) == {"s0.org": (1, 1), "s1.org": (1, 1)}
    assert shares(found.signers) == {"third party": (1, 1)}


def discovered(author, zone, **found):
    """As the filter writes it."""
    zone = {f"_dmarc.{name}": text for name, text in zone.items()}
    return outcomes.recorded(outcomes.outcome(outcomes.evidence(author, record="", zone=zone, **found)))


def test_discoveries_that_differ(gathered):
    between = {"b.example.com": "v=DMARC1; p=reject"}
    old = {key: value for key, value in record("reject").items() if key != "other_discovery"}
    found = gathered(
        [
            discovered("same.example", {"same.example": "v=DMARC1; p=none"}),
            *(discovered("a.b.example.com", between) for _ in range(3)),
            discovered("c.b.example.com", between),
            discovered("d.example", {}, failed=["_dmarc.d.example"]),
            old | {"author_domain": "old.example"},
        ]
    ).survey
    assert shares(found.discoveries) == {"same": (1, 1), "differ": (2, 4), "unknown": (2, 2)}
    assert found.differing == (
        DifferingDomain(
            domain="a.b.example.com",
            messages=3,
            differs="policy_domain organizational_domain result",
            method="treewalk",
            policy_domain="b.example.com",
            organizational_domain="b.example.com",
            result="fail",
            other_policy_domain="",
            other_organizational_domain="example.com",
            other_result="none",
        ),
        replace(found.differing[0], domain="c.b.example.com", messages=1),
    )
    assert found.differing[0].change == (
        "policy b.example.com / -; organization b.example.com / example.com; result fail / none"
    )


def test_a_sender_cannot_make_discoveries_differ(gathered):
    text = '"other_discovery":{"differs":["result"'
    words = record("no record", author_domain="f.example", dmarc=record("no record")["dmarc"] | {"reason": text})
    assert shares(gathered([words | {"other_discovery": None}]).survey.discoveries) == {"unknown": (1, 1)}


def on(day, found):
    return found | {"time": f"2027-01-{day:02}T12:00:00.000Z"}


def test_adoption_over_time(gathered):
    """The record of a.example is mended on the second day, and its policy raised on the third."""

    def publishing(text, published, **changes):
        base = with_record("a.example", text, spf=SPF, **changes)
        return base | {"dmarc": base["dmarc"] | {"published": published}}

    records = [
        on(14, publishing("v=DMARC1; p=x", None, policy={"usable": False})),
        on(15, publishing("v=DMARC1; p=none", "none")),
        on(16, publishing("v=DMARC1; p=reject", "reject")),
        on(16, publishing("v=DMARC1; p=reject", "reject")),
        on(16, record("no record", author_domain="b.example", spf=NO_SPF)),
    ]
    period = Period(DAY - timedelta(days=1), DAY + timedelta(days=3))
    found = gathered(records, period).survey
    assert [step.start for step in found.steps] == [DAY + timedelta(days=n) for n in (-1, 0, 1, 2)]
    assert [(step.domains, step.messages) for step in found.steps] == [(1, 1), (1, 1), (2, 3), (0, 0)]
    assert [shares(step.types) for step in found.steps] == [
        {"B": (1, 1)},
        {"A": (1, 1)},
        {"A": (1, 2), "F": (1, 1)},
        {},
    ]
    assert [shares(step.policies) for step in found.steps] == [{}, {"none": (1, 1)}, {"reject": (1, 2)}, {}]
    assert shares(found.types) == {"A": (1, 4), "F": (1, 1)}


@pytest.mark.parametrize(
    ("by", "starts"),
    [
        ("week", ["2027-01-11", "2027-01-18"]),
        ("month", ["2027-01-01"]),
        (None, [f"2027-01-{n}" for n in range(15, 22)]),
    ],
)
def test_steps_of_adoption(gathered, by, starts):
    found = gathered([record()], Period(DAY, DAY + timedelta(days=7)), by=by and StepLength(by)).survey
    assert [f"{step.start:%Y-%m-%d}" for step in found.steps] == starts
    assert sum(step.messages for step in found.steps) == 1


@pytest.mark.parametrize(
    ("days", "by", "steps"), [(1, "day", 1), (62, "day", 62), (365, "week", 53), (3652, "month", 121)]
)
def test_long_periods_go_by_longer_steps(gathered, days, by, steps):
    period = Period(DAY - timedelta(days=days - 1), DAY + timedelta(days=1))
    assert period.by == by
    assert len(gathered([], period).survey.steps) == steps


@pytest.mark.parametrize(
    ("author", "signed", "signer"),
    [
        ("a.example", [], "unsigned"),
        ("a.example", [("fail", "a.example")], "failed"),
        ("a.example", [("pass", "esp.net"), ("fail", "a.example")], "third party"),
        ("a.example", [("pass", "esp.net"), ("pass", "a.example")], "self"),
        ("news.a.example", [("pass", "a.example")], "self"),
        ("a.example", [("pass", "news.a.example")], "self"),
        ("a.example", [("pass", "ba.example")], "third party"),
    ],
    ids=str,
)
def test_survey_of_signers(gathered, author, signed, signer):
    dkim = [record()["dkim"][0] | {"result": result, "domain": domain} for result, domain in signed]
    found = gathered([record("no record", author_domain=author, dkim=dkim)])
    assert shares(found.survey.signers) == {signer: (1, 1)}


def test_an_aligned_signature_is_the_authors_own(gathered):
    sibling = [record()["dkim"][0] | {"result": "pass", "domain": "mail.example.com"}]
    found = gathered([record("pass", author_domain="www.example.com", dkim=sibling)])
    assert shares(found.survey.signers) == {"self": (1, 1)}


TYPE_DEFINITIONS = {
    "A": ("valid", True),
    "B": ("faulty", True),
    "C": ("valid", False),
    "D": ("faulty", False),
    "E": ("absent", True),
    "F": ("absent", False),
}


def test_types_are_those_of_the_japanese_operators():
    assert {name: TYPES[key] for name, key in TYPE_DEFINITIONS.items()} == {name: name for name in "ABCDEF"}


def test_every_type_has_a_text():
    assert set(TYPES.values()) == set(TYPE_TEXTS)
    assert set(TYPES) == set(itertools.product(("valid", "faulty", "absent"), (True, False)))
    assert len(SIGNERS) == 4


EVIL = '=cmd|"/c calc"!A1'


@pytest.fixture
def conf(tmp_path):
    """With a store of today's mail."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    records = [record(kind, time=now) for kind in journals.KINDS]
    differs = {"differs": ["result"], "method": "psl", "policy_domain": EVIL, "organizational_domain": None}
    monitor = record("reject")["policy"] | {"record": "v=DMARC1; p=monitor", "usable": False}
    stranger = [record()["dkim"][0] | {"domain": EVIL}]
    records += [
        record("reject", time=now, author_domain=EVIL, other_discovery=differs, dkim=stranger),
        record("reject", time=now, author_domain="[red]x", policy=monitor),
    ]
    journals.append(tmp_path / "journal", records)
    path = tmp_path / "dmarcmilter.toml"
    path.write_text(
        f'[history]\njournal = "{tmp_path}/journal"\ndatabase = "sqlite:///{tmp_path}/h.db"\n', encoding="utf-8"
    )
    run("history", "ingest", "--config", str(path))
    return str(path)


def run(*arguments):
    found = CliRunner().invoke(main, arguments, env={"COLUMNS": "120"})
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


def test_command_shows_tables_and_bars(conf):
    found = run("stats", "--config", conf)
    assert found.exit_code == 0
    for text in (
        "What was done",
        "Author Domains rejected",
        "example.com",
        "esp.example",
        "mailing_list",
        "█",
        "[red]x",
        "who receives aggregate reports",
        "third parties whose signatures pass",
        "policy is monitor",
        "the methods differ",
        "percent of messages by type",
    ):
        assert text in found.output, text
    for text in TYPE_TEXTS.values():
        assert text in found.output


@pytest.mark.parametrize("output", [(), ("--json",), ("--csv",)], ids=["tables", "json", "csv"])
def test_words_that_this_version_does_not_know_are_counted_by_themselves(conf, tmp_path, output):
    """Of a newer version, say, before a return to this one."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    unknown = [
        record("reject", time=now, action="[/]discard", mode="[/]later"),
        record("reject", time=now, author_domain="\x1b[2Jx.example"),
        record("reject", time=now, would_action="[/]delay"),
    ]
    journals.append(tmp_path / "journal", unknown, "20270116-1-1.jsonl")
    run("history", "ingest", "--config", conf)
    shown = run("stats", *output, "--config", conf)
    assert shown.exit_code == 0
    for word in ("[/]discard", "[/]later", "[/]delay"):
        assert word in shown.output, word
    if not output:
        assert "\\u{1b}[2Jx.example" in shown.output
        assert "\x1b" not in shown.output
        numbers = {line.split()[0]: line.split()[1:3] for line in shown.output.splitlines() if "%" in line}
        assert (numbers["[/]discard"], numbers["[/]delay"]) == (["1", "0"], ["0", "1"])


def test_command_without_mail(conf):
    found = run("stats", "--since", "2100-01-01", "--config", conf)
    assert found.exit_code == 0
    assert found.output.startswith("0 messages")


def test_command_json(conf):
    found = json.loads(run("stats", "--json", "--config", conf).output)
    assert found["messages"] == len(journals.KINDS) + 2
    assert {share["name"] for share in found["survey"]["types"]} == set("ABCDEF")
    assert found["refused"][0].keys() == {"domain", "refused", "would"}
    survey = found["survey"]
    assert [share["name"] for share in survey["ruf_vendors"]] == [survey_module.OWN_ORGANIZATION]
    assert survey["differing"][0]["domain"] == EVIL
    assert len(survey["steps"]) == 8
    assert survey["steps"][-1].keys() == {"start", "domains", "messages", "types", "policies"}


def test_command_csv(conf):
    lines = list(csv.DictReader(io.StringIO(run("stats", "--csv", "--config", conf).output)))
    assert {(line["section"], line["measure"]) for line in lines} >= {
        ("total", "messages"),
        ("actions", "messages"),
        ("timeline", "reject"),
        ("refused", "would"),
        ("authenticated", "author_domains"),
        ("survey types", "domains"),
        ("survey fault_kinds", "domains"),
        ("survey rua_vendors", "messages"),
        ("survey third_parties", "messages"),
        ("survey discoveries", "domains"),
        ("survey differing", "messages"),
        ("adoption", "domains"),
        ("adoption types", "messages"),
        ("adoption policies", "domains"),
        ("cost", "queries"),
    }
    assert all(float(line["value"]) >= 0 for line in lines)
    assert not [line for line in lines if line["name"].startswith("=")]


@pytest.mark.parametrize("since", ["12h", "7d", "2w", "2020-01-31"])
def test_command_since(conf, since):
    assert json.loads(run("stats", "--json", "--since", since, "--config", conf).output)["messages"] == 12


@pytest.mark.parametrize(
    "since", ["", "yesterday", "-1d", "7", "2020-02-31", "99999999d", "99999w", "\u0661d", "0001-01-01"]
)
def test_command_since_what(conf, since):
    found = run("stats", "--since", since, "--config", conf)
    assert found.exit_code == 2
    assert "is none of" in found.output

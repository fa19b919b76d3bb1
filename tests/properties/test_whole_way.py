"""Whatever the conf says, and whatever comes: what must hold of the whole way from a message to what the MTA is told.

Each message goes through an Evaluating transaction, as the daemon's and `check`'s do; DNS is a table.
"""

import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.explain import replay
from dmarcmilter.mail.message import Header
from dmarcmilter.milter.transaction import Evaluating
from dmarcmilter.policy.recipients.choice import Choice
from dmarcmilter.policy.recipients.choices_file import ListingFile
from dmarcmilter.policy.recipients.registry import RecipientChoices
from dmarcmilter.policy.rules import Action, Exempt, Mode, QuarantineAction, RejectAction
from dmarcmilter.response.actions import InsertHeader, Quarantine, Redirect
from dmarcmilter.value import replace
from tests.support import outcomes, signing
from tests.support.zone import Zone

BODY = b"Hello.\r\n"
OURS, THEIRS, LIST, FORWARDER = "brand.example", "attacker.example", "lists.example", "forward.example"
KEY = signing.key_record(signing.ed25519_key())
SEAL_KEY = signing.key_record(signing.rsa_key())
GOOD, BAD = ip_address("192.0.2.10"), ip_address("203.0.113.66")
ZONE = {
    f"_dmarc.{OURS}": "v=DMARC1; p=reject",
    OURS: {"TXT": ["v=spf1 ip4:192.0.2.10 -all"], "A": ["192.0.2.10"]},
    "_dmarc.soft.example": "v=DMARC1; p=quarantine",
    "soft.example": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]},
    "_dmarc.half.example": "v=DMARC1; p=reject; pct=50",
    "_dmarc.testing.example": "v=DMARC1; p=reject; t=y",
    "_dmarc.watching.example": "v=DMARC1; p=none",
    THEIRS: {"TXT": ["v=spf1 ip4:203.0.113.66 -all"]},
    f"_dmarc.{THEIRS}": "v=DMARC1; p=none",
    LIST: {"TXT": ["v=spf1 ip4:198.51.100.7 -all"]},
    "7.100.51.198.in-addr.arpa": {"PTR": [f"mx.{FORWARDER}"]},
    f"mx.{FORWARDER}": {"A": ["198.51.100.7"]},
    # The attacker may call his address what he likes.
    "66.113.0.203.in-addr.arpa": {"PTR": [f"mx.{FORWARDER}"]},
}
FAILED = ["_dmarc.dark.example", f"slow._domainkey.{OURS}", f"slow._domainkey.{LIST}"]
SIGNERS = (OURS, "soft.example", THEIRS, LIST, "mail.nothing.example")


@dataclass(frozen=True)
class Mail:
    headers: tuple[Header, ...]
    mail_from: str
    client: object = BAD
    truncated: str = ""
    body: bytes = BODY


def mail(author, *fields, sender=THEIRS, signed=(), sealed=0, **more):
    """`author`: a domain, or whole header lines."""
    lines = author if isinstance(author, list) else [f"From: A <a@{author}>"]
    headers = outcomes.fields(*lines, "To: b@rcpt.example", "Subject: hello", *fields)
    tags = {"dkim": {"a": "ed25519-sha256"}}
    signatures = [
        signing.dkim(list(headers), BODY, signing.ed25519_key(), **tags["dkim"], d=name.partition(" ")[0], s=selector)
        for name in signed
        for selector in [name.partition(" ")[2] or "sel"]
    ]
    sets = []
    for _ in range(sealed):
        vouching = f" i={len(sets) + 1}; mx.{THEIRS}; dmarc=pass header.from={OURS}"
        sets.append(signing.seal([*signatures, *headers], BODY, sets, results=vouching))
    fields_of_sets = [field for one in reversed(sets) for field in one.fields]
    return Mail((*fields_of_sets, *signatures, *headers), f"bounce@{sender}" if sender else "", **more)


FORGED = {
    "bare": mail(OURS),
    "authenticated as somebody else": mail(OURS, signed=[THEIRS]),
    "with a list's fields": mail(
        OURS, f"List-Id: <users.{LIST}>", "Precedence: list", "List-Post: <mailto:a@b.example>"
    ),
    "with a seal of his own": mail(OURS, sealed=2),
    "with results that he wrote": mail(OURS, f"Authentication-Results: mx; dmarc=pass header.from={OURS}"),
    "marked already": mail(OURS, "X-DMARC-Quarantine: no"),
    "signed by no key of ours": mail(OURS, signed=["unknown.brand.example"]),
    "changed afterwards": mail(OURS, signed=[OURS], body=b"Click here.\r\n"),
    "null reverse-path": mail(OURS, sender=""),
    "ours in MAIL FROM": mail(OURS, sender=OURS),
    "of a name below": mail(f"deep.down.{OURS}"),
}
PASSING = {
    "by SPF": mail(OURS, sender=OURS, client=GOOD),
    "by DKIM": mail(OURS, signed=[OURS]),
    "by DKIM, through a list": mail(OURS, f"List-Id: <users.{LIST}>", signed=[OURS, LIST]),
    "by DKIM, beside what cannot be checked": mail(OURS, signed=[OURS, f"{LIST} slow"]),
    "soft, by both": mail("soft.example", sender="soft.example", signed=["soft.example"], client=GOOD),
}
OTHERS = {
    "quarantine asked for": mail("soft.example"),
    "half of it": mail("half.example"),
    "being tested": mail("testing.example"),
    "only watched": mail("watching.example"),
    "nothing published": mail("nothing.example"),
    "nothing published, signed": mail("nothing.example", signed=["mail.nothing.example"]),
    "policy not answered": mail("dark.example"),
    "key not answered": mail(OURS, signed=[f"{OURS} slow"]),
    "an exception's key not answered": mail(OURS, f"List-Id: <users.{LIST}>", signed=[f"{LIST} slow"]),
    "list that signs": mail(OURS, f"List-Id: <users.{LIST}>", signed=[LIST]),
    "of a forwarder": mail(OURS, client=ip_address("198.51.100.7")),
    "no From": mail(["X-Other: x"]),
    "no domain in From": mail(["From: MAILER-DAEMON"], sender=""),
    "two From fields": mail([f"From: a@{OURS}", "From: a@soft.example"]),
    "cut short": mail(OURS, truncated="max_header_fields"),
    "results that cannot be taken out": mail("nothing.example", truncated="max_results_fields"),
    "a subject that cannot be tagged": mail("soft.example", *["Subject: x"] * 20),
}
ALL = FORGED | PASSING | OTHERS
RECIPIENTS = {"nobody": (), "some": ("joe@rcpt.example", "ann@rcpt.example"), "all": ("ann@rcpt.example",)}


class Table(Zone):
    """The DNS of one message, as MessageLookup has it."""

    queries = cache_hits = 0
    milliseconds, spent = 0.0, False

    def start(self, name, rdtype):
        """Nothing is asked ahead: the answers are here."""

    def within(self, _seconds, name, rdtype):
        return self(name, rdtype)

    def close(self):
        pass


def records():
    found = dict(ZONE)
    for name in SIGNERS:
        found[f"sel._domainkey.{name}"] = {"TXT": [KEY.decode()]}
    for number in (1, 2):
        found[f"arc._domainkey.hop{number}.example"] = {"TXT": [SEAL_KEY.decode()]}
    return found


RECORDS = records()
AUTHENTICATED = {"dkim_domain", "spf_domain", "client", "arc_sealer"}
NAMES = st.sampled_from([OURS, f"={OURS}", "soft.example", "nothing.example", LIST, "dark.example"])
NOBODYS = st.sampled_from(["partner.example", "=esp.example"])
"""Names that authenticate no message here."""


@st.composite
def entries(draw, authenticating=NAMES):
    keys = draw(st.sets(st.sampled_from(["from_domain", "list_id", "recipient", *sorted(AUTHENTICATED)]), min_size=1))
    entry = {}
    for key in sorted(keys):
        names = authenticating if key in AUTHENTICATED else NAMES
        entry[key] = draw(names)
    if "client" in entry:
        entry["client"] = draw(st.sampled_from(["198.51.100.0/24", "2001:db8::/32"]))
    if "recipient" in entry:
        entry["recipient"] = draw(st.sampled_from(["ann@rcpt.example", "rcpt.example", "other.example"]))
    entry["action"] = draw(st.sampled_from(["accept", "none", "quarantine", "reject"]))
    if draw(st.integers(0, 5)) == 0:
        entry["expires"] = date(2000, 1, 1)
    # The conf file takes no other: what softens is authenticated, unless the operator says that he knows better.
    if entry["action"] in ("accept", "none") and not keys & AUTHENTICATED:
        entry["client"] = "198.51.100.0/24"
    return entry


RULES = {
    "mode": st.sampled_from(["enforce", "enforce", "monitor"]),
    "reject_action": st.sampled_from(["reject", "reject", "quarantine", "none"]),
    "quarantine_action": st.sampled_from([str(way) for way in QuarantineAction]),
    "mailing_list_traces": st.sampled_from(["quarantine", "ignore"]),
    "mailing_lists": st.lists(st.just(LIST), max_size=1),
    "forwarder_names": st.lists(st.just(FORWARDER), max_size=1),
    "forwarder_networks": st.sampled_from([[], ["198.51.100.0/24"]]),
    "trusted_sealers": st.sampled_from([[], ["partner.example"]]),
    "temperror": st.sampled_from(["accept", "tempfail"]),
    "defer": st.sampled_from([{}, {"dkim_key": "accept"}, {"policy": "tempfail"}]),
    "on_missing": st.sampled_from(["reject", "quarantine", "accept"]),
    "on_multiple": st.sampled_from(["reject", "quarantine", "accept"]),
    "on_malformed": st.sampled_from(["reject", "quarantine", "accept"]),
    "rollout_percent": st.sampled_from([0, 30, 100, 100]),
    "rollout_domains": st.sampled_from([[], [], [OURS], ["soft.example"]]),
    "overrides": st.lists(entries(), max_size=3),
}
CONF = st.fixed_dictionaries(RULES)
STRICT_CONF = st.fixed_dictionaries(
    RULES
    | {
        "mode": st.just("enforce"),
        "reject_action": st.just("reject"),
        "quarantine_action": st.sampled_from(["hold", "header", "subject", "redirect"]),
        "rollout_percent": st.just(100),
        "rollout_domains": st.just([]),
        "overrides": st.lists(entries(NOBODYS), max_size=3),
    }
)


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipients") / "list"
    path.write_text("ann@rcpt.example exempt\n", encoding="utf-8")
    return RecipientChoices(Choice.ENFORCE, ListingFile(str(path), Choice.ENFORCE))


def receiver_of(words, listing=None):
    rules = outcomes.rules(**words)
    channel = replace(outcomes.CHANNEL, method=rules.quarantine_action, mailbox="q@rcpt.example")
    recipients = {"recipients": listing} if listing else {}
    return outcomes.receiver(outcomes.settings(rules=rules, quarantine=channel, **recipients))


def judged(found, receiver, recipients=("joe@rcpt.example",)):
    """The outcome, and what the MTA is asked for."""
    envelope = outcomes.envelope(
        client_ip=found.client,
        helo=b"mx.attacker.example",
        mail_from=found.mail_from.encode(),
        received_at=datetime.fromtimestamp(signing.NOW, UTC),
        recipients=tuple(path.encode() for path in recipients),
    )
    transaction = Evaluating(envelope, Table(RECORDS, FAILED), receiver)
    transaction.end_of_headers(found.headers, size=100, truncated=found.truncated)
    transaction.body(found.body)
    outcome, response = transaction.end_of_message("4WHOLE", "mx")
    transaction.end()
    return outcome, response


def is_touched(response, receiver):
    """Anything beyond our Authentication-Results, and the removal of what others wrote in our name."""
    kept_away = any(isinstance(change, Quarantine | Redirect) for change in response.changes)
    return response.reply is not None or kept_away or is_marked(response, receiver)


def is_marked(response, receiver):
    return any(
        isinstance(change, InsertHeader) and change.name == receiver.pipeline.quarantine.header_name
        for change in response.changes
    )


@given(words=STRICT_CONF, name=st.sampled_from(sorted(FORGED)))
@settings(max_examples=150, deadline=None)
def test_no_forgery_goes_through(words, name):
    """Enforced, nobody opted out, and no exception for anything that the sender has: refused, held or marked."""
    receiver = receiver_of(words)
    outcome, response = judged(FORGED[name], receiver)
    assert outcome.evaluation.result == "fail"
    assert outcome.decision.disposition != "none"
    assert is_touched(response, receiver)
    if words["mailing_list_traces"] == "ignore" and not words["overrides"]:
        assert outcome.decision.action is Action.REJECT


@given(words=CONF, name=st.sampled_from(sorted(PASSING)))
@settings(max_examples=100, deadline=None)
def test_what_passes_is_delivered_under_every_conf(words, name):
    """Also where an entry forces a policy, or cannot be decided."""
    receiver = receiver_of(words)
    outcome, response = judged(PASSING[name], receiver)
    decision = outcome.decision
    assert outcome.evaluation.result == "pass"
    assert (decision.action, decision.would_action) == (Action.ACCEPT, Action.ACCEPT)
    assert (decision.disposition, decision.would_disposition) == ("none", "none")
    assert decision.overrides == ()
    assert not is_touched(response, receiver)


@given(words=CONF, name=st.sampled_from(sorted(ALL)))
@settings(max_examples=200, deadline=None)
def test_monitor_never_acts_and_tells_what_enforce_does(words, name):
    everything = {"rollout_percent": 100, "rollout_domains": []}
    monitoring = receiver_of(words | {"mode": "monitor"})
    monitored, response = judged(ALL[name], monitoring)
    if ALL[name].truncated == "max_results_fields":
        assert monitored.decision.action is Action.REJECT
        return
    assert (monitored.decision.action, monitored.decision.disposition) == (Action.ACCEPT, "none")
    assert not is_touched(response, monitoring)
    enforced, _ = judged(ALL[name], receiver_of(words | everything | {"mode": "enforce"}))
    told = monitored.decision.would_action, monitored.decision.would_disposition
    assert told == (enforced.decision.action, enforced.decision.disposition)


@pytest.mark.parametrize("chosen", RECIPIENTS)
@given(words=CONF, name=st.sampled_from(sorted(ALL)))
@settings(max_examples=60, deadline=None)
def test_who_is_left_out_gets_the_message_and_the_outcome_says_what_would_have_been(listing, chosen, words, name):
    """By the rollout, or by the recipients' own choice."""
    paths = RECIPIENTS[chosen] or ("joe@rcpt.example",)
    receiver = receiver_of(words, listing)
    outcome, response = judged(ALL[name], receiver, paths)
    everything = words | {"mode": "enforce", "rollout_percent": 100, "rollout_domains": []}
    enforced, _ = judged(ALL[name], receiver_of(everything), paths)
    if ALL[name].truncated == "max_results_fields":
        assert outcome.decision.action is Action.REJECT
        return
    decision = outcome.decision
    assert (decision.would_action, decision.would_disposition) == (
        enforced.decision.action,
        enforced.decision.disposition,
    )
    released = (decision.action, decision.disposition) == (Action.ACCEPT, "none")
    assert released or (decision.action, decision.disposition) == (decision.would_action, decision.would_disposition)
    if outcome.facts.exempt is not Exempt.NOBODY:
        assert released
        assert not is_touched(response, receiver)
    if chosen == "nobody":
        assert outcome.facts.exempt is Exempt.NOBODY


@given(words=CONF, name=st.sampled_from(sorted(ALL)))
@settings(max_examples=150, deadline=None)
def test_the_record_judged_again_under_the_same_conf_comes_out_the_same(words, name):
    receiver = receiver_of(words)
    outcome, _ = judged(ALL[name], receiver)
    terms = replay.Terms(receiver.pipeline.rules, Method.TREEWALK, honor_pct=True, suffixes=outcomes.SUFFIXES)
    again = replay.decide_again(outcome.record(), terms)
    if again.decision is None or again.gaps or any("recipient" in entry for entry in words["overrides"]):
        return
    found, told = again.decision, outcome.decision
    assert (found.action, found.disposition) == (told.action, told.disposition)
    if words["quarantine_action"] != "subject":
        assert (found.would_action, found.would_disposition) == (told.would_action, told.would_disposition)


def test_the_messages_are_what_their_names_say():
    receiver = receiver_of({})
    results = {name: outcomes.recorded(judged(found, receiver)[0]) for name, found in ALL.items()}
    assert {results[name]["dmarc"]["result"] for name in FORGED} == {"fail"}
    assert {results[name]["dmarc"]["result"] for name in PASSING} == {"pass"}
    assert results["with a seal of his own"]["arc"]["result"] == "pass"
    assert results["key not answered"]["dmarc"]["result"] == "temperror"
    assert results["policy not answered"]["dmarc"]["result"] == "temperror"
    assert results["nothing published, signed"]["dkim"][0]["result"] == "pass"
    forced = receiver_of({"overrides": [{"from_domain": "nothing.example", "action": "reject"}]})
    assert judged(ALL["nothing published"], forced)[0].decision.action is Action.REJECT
    assert judged(ALL["nothing published, signed"], forced)[0].decision.action is Action.ACCEPT
    known = {"list that signs": {"mailing_lists": [LIST]}, "of a forwarder": {"forwarder_names": [FORWARDER]}}
    for name, words in known.items():
        assert judged(ALL[name], receiver_of(words))[0].decision.action is Action.ACCEPT


@pytest.mark.parametrize(("mode", "reject", "way"), list(itertools.product(Mode, RejectAction, QuarantineAction)))
def test_every_mode_and_action_with_every_message(mode, reject, way):
    """Not by chance alone: what is done is one of the four, and fits the disposition."""
    receiver = receiver_of({"mode": mode, "reject_action": reject, "quarantine_action": way})
    for found in ALL.values():
        outcome, response = judged(found, receiver)
        action, disposition = outcome.decision.action, outcome.decision.disposition
        assert (response.reply is not None) is (action in (Action.REJECT, Action.TEMPFAIL))
        assert (disposition == "reject") is (action is Action.REJECT)
        away = [change for change in response.changes if isinstance(change, Quarantine | Redirect)]
        assert len(away) == (action is Action.QUARANTINE)
        if disposition == "quarantine":
            assert away or is_marked(response, receiver)

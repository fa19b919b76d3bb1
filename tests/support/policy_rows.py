"""The rows of policy.toml and overrides.toml in tests/cases, and the decision on one."""

import tomllib
from ipaddress import ip_address

from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy.facts import ClientNames
from dmarcmilter.policy.rules import Exempt
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.paths import CASES

ROWS = [
    row
    for name in ("policy.toml", "overrides.toml")
    for row in tomllib.loads((CASES / name).read_text(encoding="utf-8"))["row"]
]


def judged(row):
    found = outcomes.evidence(
        author=row.get("author", "example.com"),
        problem=row.get("problem", ""),
        domains=row.get("domains", ()),
        unread=row.get("unread", False),
        record=row.get("record", ""),
        failed=row.get("failed", ()),
        zone=row.get("zone"),
        spf=outcomes.spf(row.get("spf", "none")),
        dkim=map(outcomes.dkim, row.get("dkim", ())),
        arc=replace(outcomes.arc(row.get("arc", "none"), row.get("sets", ())), unresolved=row.get("arc_unsettled")),
    )
    sender = {"mail_from": row["from"].encode()} if "from" in row else {}
    mail = replace(outcomes.message(*row.get("header", ()), **sender), truncated=row.get("truncated", ""))
    return outcomes.outcome(
        found, mail, outcomes.rules(**row.get("rules", {})), draw=row.get("draw", 0), **facts_of(row)
    )


def facts_of(row):
    """What the case of a row says beside what its message and evidence do."""
    facts = {"rollout_draw": row.get("rollout", 0), "exempt": Exempt(row.get("exempt", "nobody"))}
    facts["deferred_for"] = row.get("deferred_for")
    facts["deferral_unrecorded"] = row.get("unrecorded", False)
    facts["recipients"] = tuple(name.encode() for name in row.get("recipients", ()))
    if "client_names" in row:
        names = tuple(map(Domain, row["client_names"]))
        facts["client_names"] = ClientNames(names, failed=row.get("client_failed", False))
    if "client" in row:
        facts["client_ip"] = ip_address(row["client"]) if row["client"] else None
    return facts

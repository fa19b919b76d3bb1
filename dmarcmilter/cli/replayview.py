"""A replay on a terminal, and as JSON."""

import json
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmarcmilter.cli.replaydata import Replayed
from dmarcmilter.explain.catalogue import harmless
from dmarcmilter.explain.replay import Effect, Gap
from dmarcmilter.explain.replay_comparison import Change, OfDomain

COLORS = {
    Effect.DELIVERED: "green",
    Effect.MARKED: "cyan",
    Effect.HELD: "yellow",
    Effect.REFUSED: "red",
    Effect.DEFERRED: "magenta",
}
GAP_TEXTS = {
    Gap.OLDER_VERSION: "recorded by an older version that did not write down what is needed: not judged",
    Gap.DISCOVERY: "policy found by the other way of discovery: judged by what was found then",
    Gap.CLIENT_NAME: "client's name was not asked for: judged as though [forwarders] names did not hold it",
    Gap.RECIPIENTS: "an [[override]] with recipient might decide otherwise; recipients are not stored",
    Gap.OPT_OUT: "recipients were not asked whether they have opted out: judged as though they had not",
    Gap.DETAILS: "without a policy neither List-Id nor the ARC chain was recorded: judged without them",
}


def show(found: Replayed, limit: int) -> None:
    tally = found.tally
    console = Console()
    since, until = (f"{when:%Y-%m-%d %H:%M}" for when in (found.span.since, found.span.until))
    console.print(
        f"{tally.messages:,} messages of {since} to {until} UTC, from {found.source}", markup=False, soft_wrap=True
    )
    if found.first:
        console.print(f"There is nothing before {found.first}.", markup=False)
    _print_changes(console, "What would be done", tally.done)
    if tally.would != tally.done:
        _print_changes(console, "The same if all of it were enforced for everybody", tally.would)
    _print_domains(console, found, limit)
    share = f" ({tally.changed / tally.messages:.2%})" if tally.messages else ""
    console.print(f"\nTotal: {tally.changed:,} of {tally.messages:,} messages would be treated differently{share}.")
    for gap, messages in sorted(tally.gaps.items()):
        console.print(f"note: {messages:,} messages: {GAP_TEXTS[gap]}", markup=False)
    if tally.unreadable:
        console.print(f"note: {tally.unreadable:,} lines could not be read as outcomes")


def _changes(counted: Counter[Change]) -> list[tuple[Change, int]]:
    return [(change, messages) for change, messages in counted.most_common() if change[0] is not change[1]]


def _print_changes(console: Console, title: str, counted: Counter[Change]) -> None:
    changes = _changes(counted)
    if not changes:
        return
    table = _table(title)
    for name in ("was", "would be"):
        table.add_column(name)
    table.add_column("messages", justify="right")
    for (old, new), messages in changes:
        table.add_row(_word(old), _word(new), f"{messages:,}")
    console.print()
    console.print(table)


def _print_domains(console: Console, found: Replayed, limit: int) -> None:
    largest = _largest(found, limit)
    if not largest:
        return
    table = _table("By Author Domain")
    table.add_column("domain", overflow="fold", max_width=50)
    for name in ("was", "would be"):
        table.add_column(name)
    table.add_column("messages", justify="right")
    table.add_column("for example", overflow="fold")
    for name, of_domain in largest:
        for (old, new), messages in of_domain.messages.most_common():
            examples = ", ".join(map(harmless, of_domain.examples.get((old, new), [])))
            table.add_row(Text(harmless(name)), _word(old), _word(new), f"{messages:,}", Text(examples))
    console.print()
    console.print(table)
    left_out = len(found.tally.domains) - len(largest)
    if left_out:
        console.print(f"... and {left_out:,} more domains (--limit-domains)")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _word(effect: Effect) -> Text:
    return Text(str(effect), style=COLORS[effect])


def _largest(found: Replayed, limit: int) -> list[tuple[str, OfDomain]]:
    ranked = sorted(found.tally.domains.items(), key=lambda item: (-item[1].total, item[0]))
    return ranked[:limit]


def print_json(found: Replayed, limit: int) -> None:
    tally = found.tally
    values = {
        "source": found.source,
        "since": found.span.since.isoformat(),
        "until": found.span.until.isoformat(),
        "nothing_before": found.first or None,
        "messages": tally.messages,
        "changed": tally.changed,
        "changed_would": tally.changed_would,
        "done": _counted(tally.done),
        "would": _counted(tally.would),
        "changed_domains": len(tally.domains),
        "domains": [_of_domain(name, of_domain) for name, of_domain in _largest(found, limit)],
        "gaps": {str(gap): messages for gap, messages in sorted(tally.gaps.items())},
        "unreadable": tally.unreadable,
    }
    print(json.dumps(values))


def _counted(counted: Counter[Change]) -> list[dict[str, Any]]:
    """All of them, also those that stay the same."""
    return [{"from": old, "to": new, "messages": messages} for (old, new), messages in counted.most_common()]


def _of_domain(name: str, found: OfDomain) -> dict[str, Any]:
    changes = [
        {"from": old, "to": new, "messages": messages, "examples": found.examples.get((old, new), [])}
        for (old, new), messages in found.messages.most_common()
    ]
    return {"domain": name, "messages": found.total, "changes": changes}

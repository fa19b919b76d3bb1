"""The result of a replay, as tables for a terminal and as JSON."""

import json
from collections import Counter
from typing import TypedDict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmarcmilter.explain.catalogue import harmless
from dmarcmilter.explain.replay import Effect, Gap
from dmarcmilter.explain.replay_comparison import DomainChanges, EffectChange, ReplayTally, Span
from dmarcmilter.value import Value

COLORS = {
    Effect.DELIVERED: "green",
    Effect.MARKED: "cyan",
    Effect.HELD: "yellow",
    Effect.REFUSED: "red",
    Effect.DEFERRED: "magenta",
}
GAP_TEXTS = {
    Gap.OLDER_VERSION: "recorded by an older version that did not record what is needed: not evaluated",
    Gap.DISCOVERY: "policy found by the other way of discovery: evaluated by what was found then",
    Gap.CLIENT_NAME: "the client's name was not looked up: evaluated as though it had none",
    Gap.RECIPIENTS: "an [[override]] with recipient might decide otherwise; recipients are not stored",
    Gap.OPT_OUT: "recipients' choices were not looked up: evaluated as though no recipient had opted out",
    Gap.DETAILS: "without a policy neither List-Id nor the ARC chain was read: evaluated without them",
}


class Replayed(Value):
    """The counted result, and where the outcomes came from."""

    tally: ReplayTally
    span: Span
    source: str
    """The journal's directory, or "database"."""
    first: str
    """Day or time of the oldest outcome, when it is later than the requested start; else empty."""


def show(replayed: Replayed, limit: int) -> None:
    tally = replayed.tally
    console = Console()
    since, until = (f"{when:%Y-%m-%d %H:%M}" for when in (replayed.span.since, replayed.span.until))
    console.print(
        f"{tally.messages:,} messages of {since} to {until} UTC, from {replayed.source}", markup=False, soft_wrap=True
    )
    if replayed.first:
        console.print(f"There is nothing before {replayed.first}.", markup=False)
    _print_changes(console, "What would be done", tally.done)
    if tally.would != tally.done:
        _print_changes(console, "With full enforcement", tally.would)
    _print_domains(console, replayed, limit)
    share = f" ({tally.changed / tally.messages:.2%})" if tally.messages else ""
    console.print(f"\nTotal: {tally.changed:,} of {tally.messages:,} messages would be treated differently{share}.")
    for gap, messages in sorted(tally.gaps.items()):
        console.print(f"note: {messages:,} messages: {GAP_TEXTS[gap]}", markup=False)
    if tally.unreadable:
        console.print(f"note: {tally.unreadable:,} lines could not be read as outcomes")


def _changes(counted: Counter[EffectChange]) -> list[tuple[EffectChange, int]]:
    return [(change, messages) for change, messages in counted.most_common() if change[0] is not change[1]]


def _print_changes(console: Console, title: str, counted: Counter[EffectChange]) -> None:
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


def _print_domains(console: Console, replayed: Replayed, limit: int) -> None:
    largest = _largest(replayed, limit)
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
    left_out = len(replayed.tally.domains) - len(largest)
    if left_out:
        console.print(f"... and {left_out:,} more domains (--limit-domains)")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _word(effect: Effect) -> Text:
    return Text(str(effect), style=COLORS[effect])


def _largest(replayed: Replayed, limit: int) -> list[tuple[str, DomainChanges]]:
    ranked = sorted(replayed.tally.domains.items(), key=lambda item: (-item[1].total, item[0]))
    return ranked[:limit]


def print_json(replayed: Replayed, limit: int) -> None:
    tally = replayed.tally
    values = {
        "source": replayed.source,
        "since": replayed.span.since.isoformat(),
        "until": replayed.span.until.isoformat(),
        "nothing_before": replayed.first or None,
        "messages": tally.messages,
        "changed": tally.changed,
        "changed_would": tally.changed_would,
        "done": _counted(tally.done),
        "would": _counted(tally.would),
        "changed_domains": len(tally.domains),
        "domains": [_domain_values(name, of_domain) for name, of_domain in _largest(replayed, limit)],
        "gaps": {str(gap): messages for gap, messages in sorted(tally.gaps.items())},
        "unreadable": tally.unreadable,
    }
    print(json.dumps(values))


_ChangeValues = TypedDict("_ChangeValues", {"from": Effect, "to": Effect, "messages": int})


class _ExampleValues(_ChangeValues):
    examples: list[str]


class _DomainValues(TypedDict):
    domain: str
    messages: int
    changes: list[_ExampleValues]


def _counted(counted: Counter[EffectChange]) -> list[_ChangeValues]:
    """All changes, also those from an effect to itself."""
    return [{"from": old, "to": new, "messages": messages} for (old, new), messages in counted.most_common()]


def _domain_values(name: str, counts: DomainChanges) -> _DomainValues:
    changes: list[_ExampleValues] = [
        {"from": old, "to": new, "messages": messages, "examples": counts.examples.get((old, new), [])}
        for (old, new), messages in counts.messages.most_common()
    ]
    return {"domain": name, "messages": counts.total, "changes": changes}

"""`dmarcmilter quarantine`: list, show, release and delete messages that the filter had Postfix put on hold.

Much of what is printed comes from hostile mail, so it goes through `printable`.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any

import click

from dmarcmilter.cli import held_messages
from dmarcmilter.cli.command_setup import config_option, fail, json_option, load
from dmarcmilter.cli.held_messages import HEADING, HeldMessage, Selection
from dmarcmilter.cli.time_arguments import FORMS, When
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import as_text, explain
from dmarcmilter.postfix.hold_queue import PostfixQueue, QueueError, printable

EXIT_INCOMPLETE = 1
"""Exit status when a named message is not held by the filter, or not all was done."""

queue_option = click.option(
    "--config-dir",
    default="",
    metavar="DIRECTORY",
    help="Postfix's configuration directory; default: that of the system's Postfix.",
)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select messages, which the command gets as one Selection, and `--yes`."""

    @wraps(command)
    def with_selection(
        *,
        queue_ids: tuple[str, ...],
        domains: tuple[str, ...],
        before: datetime | None,
        everything: bool,
        **others: Any,
    ) -> Any:
        return command(selection=Selection(queue_ids, domains, before, everything=everything), **others)

    decorated: Callable[..., Any] = with_selection
    for decorate in (
        click.argument("queue_ids", nargs=-1, metavar="[QUEUE_ID]..."),
        click.option("--all", "everything", is_flag=True, help="All messages that the filter held."),
        click.option("--domain", "domains", multiple=True, metavar="DOMAIN", help="Messages of this Author Domain."),
        click.option(
            "--older-than", "before", type=When(), metavar="WHEN", help=f"Messages that arrived before {FORMS}."
        ),
        click.option("--yes", is_flag=True, help="Do not ask."),
        queue_option,
        config_option,
    ):
        decorated = decorate(decorated)
    return decorated


@click.group()
def quarantine() -> None:
    """List, show, release or delete messages that the filter put into Postfix's hold queue."""


@quarantine.command("list")
@config_option
@queue_option
@json_option
def list_(path: str, config_dir: str, *, as_json: bool) -> None:
    """List the messages that the filter put on hold, oldest first, and no others.

    Exit status: 0 listed (also when there is nothing), 2 the queue cannot be read.
    """
    messages, others = held_messages.read(load(path), PostfixQueue(config_dir))
    if as_json:
        click.echo(json.dumps({"held": [message.values() for message in messages], "others": others}))
        return
    _print_table(messages)
    if others:
        click.echo(f"{others} more on hold, not by the filter or no longer in its history")


@quarantine.command()
@config_option
@queue_option
@click.argument("queue_id", metavar="QUEUE_ID")
def show(path: str, config_dir: str, queue_id: str) -> None:
    """Explain why a message is on hold, and show its header.

    Exit status: 0 shown, 1 the filter holds no such message, 2 the queue cannot be read.
    """
    queue = PostfixQueue(config_dir)
    messages, _ = held_messages.read(load(path), queue)
    message = next((message for message in messages if message.held.queue_id == queue_id), None)
    if message is None:
        click.echo(f"the filter holds no message {printable(queue_id)}", err=True)
        raise SystemExit(EXIT_INCOMPLETE)
    try:
        header = queue.header(queue_id)
    except QueueError as error:
        fail(str(error))
    _print_table([message])
    click.echo()
    for line in as_text(explain(message.record)).splitlines():
        click.echo(printable(line))
    click.echo()
    for line in header.decode("utf-8", "replace").splitlines():
        click.echo(printable(line.expandtabs()))


@quarantine.command()
@selection_options
def release(path: str, config_dir: str, selection: Selection, *, yes: bool) -> None:
    """Deliver held messages to their recipients. They are not evaluated again.

    Exit status: 0 done, also when there is nothing to do; 1 some failed, 2 the queue cannot be used.
    """
    queue = PostfixQueue(config_dir)
    messages = _selected(load(path), queue, selection)
    if not yes:
        _confirm("Release", messages)
    _act(queue.release, "released", messages, selection)


@quarantine.command()
@selection_options
def delete(path: str, config_dir: str, selection: Selection, *, yes: bool) -> None:
    """Delete held messages. Neither senders nor recipients are told.

    Exit status: 0 done, also when there is nothing to do; 1 some failed, 2 the queue cannot be used.
    """
    queue = PostfixQueue(config_dir)
    messages = _selected(load(path), queue, selection)
    if not yes:
        _confirm("Delete", messages)
    _act(queue.delete, "deleted", messages, selection)


def _selected(config: Config, queue: PostfixQueue, selection: Selection) -> list[HeldMessage]:
    """The selected messages; ends the command where there are none."""
    if selection.is_empty:
        fail("say which: QUEUE_ID, --domain, --older-than or --all")
    messages = selection.select(held_messages.read(config, queue)[0])
    for queue_id in set(selection.queue_ids) - {message.held.queue_id for message in messages}:
        click.echo(f"the filter holds no message {printable(queue_id)}", err=True)
    if not messages:
        click.echo("nothing to do")
        # An id that was named and is not on hold is a failure; a selection without messages is not.
        raise SystemExit(EXIT_INCOMPLETE if selection.queue_ids else 0)
    return messages


def _confirm(verb: str, messages: Sequence[HeldMessage]) -> None:
    _print_table(messages)
    plural = "s" if len(messages) > 1 else ""
    if not click.confirm(f"{verb} {len(messages)} message{plural}?"):
        raise SystemExit(EXIT_INCOMPLETE)


def _act(
    command: Callable[[list[str]], set[str]], verb: str, messages: Sequence[HeldMessage], selection: Selection
) -> None:
    """Release or delete messages, and report which are still on hold."""
    queue_ids = [message.held.queue_id for message in messages]
    try:
        done = command(queue_ids)
    except QueueError as error:
        fail(str(error))
    click.echo(f"{len(done)} {verb}")
    left = [queue_id for queue_id in queue_ids if queue_id not in done]
    for queue_id in left:
        click.echo(f"{queue_id} is still on hold", err=True)
    if left or set(selection.queue_ids) - done:
        raise SystemExit(EXIT_INCOMPLETE)


def _print_table(messages: Sequence[HeldMessage]) -> None:
    if not messages:
        click.echo("the filter has no message on hold")
        return
    click.echo(HEADING)
    for message in messages:
        click.echo(message.line())

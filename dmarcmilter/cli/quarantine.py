"""`dmarcmilter quarantine`: the messages that Postfix holds because of us."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from dmarcmilter.cli.support import config_option, json_option, load
from dmarcmilter.cli.time_arguments import FORMS, When

queue_option = click.option(
    "--config-dir",
    default="",
    metavar="DIRECTORY",
    help="Postfix's configuration directory; default: that of the system's Postfix.",
)


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which messages, and whether to ask first."""
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
        command = decorate(command)
    return command


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
    from dmarcmilter.cli import quarantinework  # noqa: PLC0415  SQL is loaded by those who use it

    quarantinework.show_list(load(path), config_dir, as_json=as_json)


@quarantine.command()
@config_option
@queue_option
@click.argument("queue_id", metavar="QUEUE_ID")
def show(path: str, config_dir: str, queue_id: str) -> None:
    """Explain why a message is on hold, and show its header.

    Exit status: 0 shown, 1 the filter holds no such message, 2 the queue cannot be read.
    """
    from dmarcmilter.cli import quarantinework  # noqa: PLC0415

    quarantinework.show(load(path), config_dir, queue_id)


@quarantine.command()
@selection
def release(
    path: str,
    config_dir: str,
    queue_ids: tuple[str, ...],
    domains: tuple[str, ...],
    before: datetime | None,
    *,
    everything: bool,
    yes: bool,
) -> None:
    """Deliver held messages to their recipients. They are not evaluated again.

    Exit status: 0 done, also when there is nothing to do; 1 some failed, 2 the queue cannot be used.
    """
    from dmarcmilter.cli import quarantinework  # noqa: PLC0415

    wanted = quarantinework.Wanted(queue_ids, domains, before, everything=everything)
    quarantinework.release(load(path), config_dir, wanted, yes=yes)


@quarantine.command()
@selection
def delete(
    path: str,
    config_dir: str,
    queue_ids: tuple[str, ...],
    domains: tuple[str, ...],
    before: datetime | None,
    *,
    everything: bool,
    yes: bool,
) -> None:
    """Delete held messages. Neither senders nor recipients are told.

    Exit status: 0 done, also when there is nothing to do; 1 some failed, 2 the queue cannot be used.
    """
    from dmarcmilter.cli import quarantinework  # noqa: PLC0415

    wanted = quarantinework.Wanted(queue_ids, domains, before, everything=everything)
    quarantinework.delete(load(path), config_dir, wanted, yes=yes)

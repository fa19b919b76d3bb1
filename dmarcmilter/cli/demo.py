"""`dmarcmilter demo`: send sample messages through a real filter; with --stay, keep a filter running to try by hand."""

from pathlib import Path

import click

from dmarcmilter.cli.command_setup import fail
from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.config.load import load
from dmarcmilter.daemon import supervisor
from dmarcmilter.demo.show import show

STATE_CONF = """\
# Written by `dmarcmilter demo --stay`; yours to change.
[milter]
socket = "{socket}"
[policy]
# "monitor" rejects and quarantines nothing. To enforce, write "enforce" and reload the filter.
mode = "monitor"
sampling_key = "{state}/sampling.key"
[history]
journal = "{state}/journal"
database = "sqlite:///{state}/history.db"
"""


@click.command()
@click.option("--stay", is_flag=True, help="Afterwards start a filter and keep it running.")
@click.option("--state", default="state", show_default=True, metavar="FOLDER")
@click.option(
    "--socket",
    default="inet:8893@127.0.0.1",
    show_default=True,
    help="The socket of the filter that --stay keeps running.",
)
def demo(state: str, socket: str, *, stay: bool) -> None:
    """Show the filter at work on sample messages."""
    try:
        show()
    except RuntimeError as error:
        fail(str(error))
    if not stay:
        click.echo(
            '\nA new installation is in mode "monitor": it marks and records, '
            "and rejects, quarantines and defers nothing."
        )
        click.echo('To enforce, write mode = "enforce" below [policy] in the conf file, and reload the filter.')
        return
    folder = Path(state).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "dmarcmilter.toml"
    if not conf.exists():
        conf.write_text(STATE_CONF.format(state=folder, socket=socket), encoding="utf-8")
    click.echo(f"\nThe filter now runs with {conf} and the system's name servers. Ctrl-C stops it.")
    click.echo(f"Mode in force: {load(str(conf)).policy.in_force()}; [policy] mode in that file changes it.")
    click.echo("To try it, put this into Postfix's main.cf, and reload Postfix:\n")
    click.echo(f"    smtpd_milters = {socket_for_postfix(conf)}\n    milter_default_action = tempfail\n")
    raise SystemExit(supervisor.serve(str(conf)))


def socket_for_postfix(conf: Path) -> str:
    """The socket of the conf file as Postfix's smtpd_milters spells it."""
    where = parse_socket(load(str(conf)).milter.socket)
    if where.family == "unix":
        return f"unix:{where.path}"
    host = f"[{where.host}]" if where.family == "inet6" else where.host
    return f"inet:{host}:{where.port}"

"""`dmarcmilter run`: the filter in the foreground."""

import click

from dmarcmilter.cli.command_setup import fail
from dmarcmilter.daemon import privileges, supervisor
from dmarcmilter.daemon.privileges import PrivilegesError


@click.command()
@click.option("--config", "path", default="", metavar="FILE", help="The conf file; default: the built-in settings.")
@click.option("--user", default="", metavar="NAME", help="Started by root: become this user before anything is opened.")
def run(path: str, user: str) -> None:
    """Run the filter in the foreground."""
    try:
        if user:
            privileges.become(user)
    except PrivilegesError as error:
        fail(str(error))
    raise SystemExit(supervisor.serve(path))

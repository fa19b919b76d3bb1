"""`dmarcmilter config from-opendmarc`: convert the conf file of OpenDMARC."""

import os
import stat
from collections import Counter
from pathlib import Path

import click

from dmarcmilter.cli.command_setup import fail
from dmarcmilter.opendmarc import config_file, value_conversion
from dmarcmilter.opendmarc.config_conversion import Conversion, convert, render
from dmarcmilter.opendmarc.config_file import MAX_FILE
from dmarcmilter.opendmarc.setting_table import Fate

DEFAULT_PATH = "/etc/opendmarc.conf"


@click.command("from-opendmarc")
@click.argument("path", metavar="[FILE]", default=DEFAULT_PATH)
@click.option("-o", "--output", default="", metavar="FILE", help="Write to FILE, which must not exist; default: print.")
@click.option(
    "--socket", default="", metavar="ADDRESS", help="Another socket than OpenDMARC's, to run both side by side."
)
def from_opendmarc(path: str, output: str, socket: str) -> None:
    """Convert OpenDMARC's conf file, with a note for each setting.

    Lists in other files that it names are read, if they can be. Without FILE: /etc/opendmarc.conf.

    Exit status: 0 done, 2 FILE cannot be read or the output not written.
    """
    try:
        raw = read_bounded(path)
        conversion = convert(config_file.parse(raw), read_bounded, socket=_address(socket))
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    text = render(conversion, path)
    if not output:
        click.echo(text, nl=False)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        fail(f"{output}: {error.strerror or error}")
    _tell(output, conversion)


def read_bounded(path: str) -> bytes:
    """Read a regular file, at most MAX_FILE + 1 bytes; OSError for others: a pipe may never end."""
    # O_NONBLOCK: opening a pipe must not wait for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a file")
        return file.read(MAX_FILE + 1)


def _address(socket: str) -> str:
    try:
        return value_conversion.socket_address(socket) if socket else ""
    except value_conversion.NotTakenError as error:
        fail(f"--socket: {error}")


def _tell(output: str, conversion: Conversion) -> None:
    counts = Counter(note.fate for note in conversion.notes if note.value)
    counted = [f"{counts[fate]} {fate}" for fate in Fate]
    click.echo(f"{output}: written; settings: {', '.join(counted)}, {counts[None]} not understood")
    for note in conversion.notes:
        if note.value and note.fate in {None, Fate.OTHERWISE}:
            click.echo(f"note: {note}")

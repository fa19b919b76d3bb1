"""`dmarcmilter demo`."""

import click


@click.command()
def demo() -> None:
    """Show the filter doing its job."""

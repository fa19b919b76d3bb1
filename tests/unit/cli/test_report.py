"""`dmarcmilter report unsuppress`, and its older name `report forgive`."""

import time

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store
from dmarcmilter.reports.delivery.suppressions import Suppressions

ADDRESS = "dmarc@vendor.example"


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path}/history.db")
    migrations.migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def command(tmp_path, store):
    """Runs a command of `report` with the address. The store is there before it."""
    conf = tmp_path / "conf.toml"
    conf.write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/history.db"\n', encoding="utf-8")
    return lambda name: CliRunner().invoke(main, ["report", name, "--config", str(conf), ADDRESS])


def suppress(store):
    Suppressions(store).add_refusal("a.example", ADDRESS, int(time.time()), "550 no", at_rcpt=True)


@pytest.mark.parametrize("name", ["unsuppress", "forgive"])
def test_an_address_gets_reports_again(command, store, name):
    suppress(store)
    done = command(name)
    assert done.exit_code == 0, done.output
    assert f"{ADDRESS} gets reports again" in done.output
    assert Suppressions(store).all(int(time.time())) == []
    assert command(name).exit_code == 1, "it was not suppressed"


def test_only_the_older_name_warns(command, store):
    suppress(store)
    assert "`report forgive` is now called `report unsuppress`" in command("forgive").stderr
    assert "warning" not in command("unsuppress").stderr

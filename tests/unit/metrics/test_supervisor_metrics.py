"""What the supervisor counts."""

import time

import pytest

from dmarcmilter.config.schema import Config
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import lone_row
from dmarcmilter.metrics.metric_definitions import Ended, Reloaded, place
from dmarcmilter.metrics.supervisor_metrics import SupervisorMetrics
from dmarcmilter.policy.rules import Mode
from dmarcmilter.value import replace


@pytest.fixture
def row():
    return lone_row()


def value(row, family, label=""):
    return row.words[place(family, label)]


def test_the_conf_in_force(row):
    began = int(time.time())
    metrics = SupervisorMetrics(row)
    for mode, enforcing in ((Mode.ENFORCE, 1), (Mode.MONITOR, 0)):
        config = replace(Config(), policy=replace(Config().policy, mode=mode))
        metrics.loaded(config, workers=4, psl_date="2027-01-15")
        assert (value(row, f.ENFORCING), value(row, f.WANTED)) == (enforcing, 4)
    assert value(row, f.PSL_DATE) == 1_799_971_200
    assert began <= value(row, f.STARTED) <= value(row, f.LOADED) <= began + 60


@pytest.mark.parametrize("date", ["", "unknown", "2027-13-01", "2027-01-15T00:00"])
def test_a_suffix_list_without_a_date(row, date):
    SupervisorMetrics(row).loaded(Config(), workers=1, psl_date=date)
    assert value(row, f.PSL_DATE) == 0


def test_restarts_and_reloads_are_counted_by_kind(row):
    metrics = SupervisorMetrics(row)
    for how in (Ended.SILENT, Ended.EXIT, Ended.SILENT):
        metrics.ended(how)
    metrics.reloaded(Reloaded.OK)
    assert [value(row, f.RESTARTS, how) for how in (Ended.SIGNAL, Ended.EXIT, Ended.SILENT)] == [0, 1, 2]
    assert value(row, f.RELOADS, Reloaded.OK) == 1

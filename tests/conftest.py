"""Fixtures that the tests of several modules share."""

import contextlib
import logging

import pytest

APART = (
    "tests/wire/cli/test_environments.py",
    "tests/wire/daemon/test_supervisor.py",
    "tests/wire/daemon/test_watchdog.py",
    "tests/wire/health/test_checks.py",
    "tests/wire/history/test_ingest_killed.py",
    "tests/wire/metrics/test_exporter.py",
    "tests/wire/milter/test_apply.py",
    "tests/mta/test_chaos.py",
    "tests/unit/reports/delivery/test_sending.py",
)
"""Long files whose tests have no costly fixture in common: each test goes to whichever process is free."""
KINDS = ("mta", "wire", "docs", "properties", "unit")
"""In the order in which they are started: what waits longest comes first."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """As `--dist loadfile`, which keeps a module's fixtures in one process, but for the files of APART."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return nodeid if file in APART else file

    # Not the files with most tests first: those of the unit tests have most, and take least time.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    def place(item):
        file = item.nodeid.partition("::")[0]
        kind = file.split("/")[1]
        return file not in APART, KINDS.index(kind) if kind in KINDS else 0

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Tests log lone surrogates, which a process of pytest-xdist cannot send as they are."""
    return _encodable((yield))


def _encodable(value):
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


@pytest.fixture(autouse=True)
def _unchanged_logging():
    """Commands that run within a test configure logging for the whole process."""
    with _logging_restored():
        yield


@pytest.fixture(autouse=True, scope="module")
def _unchanged_logging_of_module():
    """The same for commands that fixtures of a module run: they come before the tests' own."""
    with _logging_restored():
        yield


@contextlib.contextmanager
def _logging_restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request, tmp_path):
    """Of an empty database."""
    from tests.support import databases

    return databases.new_url(request.param, tmp_path)


@pytest.fixture
def store(url):
    """A database with our tables."""
    from dmarcmilter.history import migrations
    from dmarcmilter.history.store import Store

    opened = Store(url)
    migrations.migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def report_site(tmp_path):
    """A site that sends reports, on SQLite."""
    from tests.support.report_runs import Site

    site = Site(tmp_path)
    yield site
    site.store.close()


@pytest.fixture
def report_site_each_database(tmp_path, url):
    """A site that sends reports, on each of the databases."""
    from tests.support.report_runs import Site

    site = Site(tmp_path, url)
    yield site
    site.store.close()

"""Files that the filter's user cannot use, tried with its rights: errors, each with the command that fixes it."""

import codecs
import json
import os
import pwd
import re
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import account_rights, load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import all_findings, files, live
from dmarcmilter.config_check.systemd_unit_reader import Unit
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
USER = "daemon"


@pytest.fixture(autouse=True)
def _loaded():
    """The Python of these tests may be in a folder that only root can read."""
    for codec in ("idna", "punycode"):
        codecs.lookup(codec)
    "é".encode("idna")


@pytest.fixture
def state():
    """A folder of the filter's user, which that user can get to.

    Not below tmp_path: each start of pytest closes the folder of all its runs to other users.
    """
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-rights-") as folder:
        Path(folder).chmod(0o711)
        yield _filled(Path(folder) / "state")


def _filled(found):
    (found / "journal").mkdir(parents=True)
    (found / "deferred" / "00").mkdir(parents=True)
    (found / "sampling.key").write_bytes(b"k" * 32)
    store = Store(f"sqlite:///{found}/history.db")
    migrations.migrate(store)
    store.close()
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(found)], check=True)
    found.chmod(0o750)
    return found


def written(state, more=""):
    path = state.parent / "conf.toml"
    path.write_text(
        f'[milter]\nsocket = "unix:{state}/filter.sock"\n[history]\njournal = "{state}/journal"\n'
        f'database = "sqlite:///{state}/history.db"\n'
        f'[policy]\nmode = "enforce"\nsampling_key = "{state}/sampling.key"\n'
        f'[defer]\ndirectory = "{state}/deferred"\n{more}'
    )
    return path


def of_filter(**more):
    return replace(NOWHERE, user=USER, account=account_rights.account(USER), is_user_known=True, **more)


def errors(state, more=""):
    """Of `config check --live`, without DNS."""
    path = written(state, more)
    loaded = load.load(str(path))
    found = [
        *files.conf_readable(str(path), of_filter()),
        *all_findings(loaded, of_filter()),
        *live._journal(loaded, of_filter()),
        *live._database(loaded, of_filter()),
        *live._metrics(loaded),
    ]
    # The public suffix list of a program below /root is another matter.
    return [one.text for one in found if one.severity is Severity.ERROR and "psl_file" not in one.text]


def health(state):
    path = written(state)
    with NameServer({"com": {"TXT": []}}) as dns:
        path.write_text(path.read_text() + f'[dns]\nnameservers = ["127.0.0.1:{dns.port}"]\n')
        options = ["--skip=workers", "--skip=socket", "--skip=mta", "--user", USER]
        done = CliRunner().invoke(main, ["health", "--json", "--config", str(path), *options])
    return done.exit_code, json.loads(done.stdout)["checks"]


def owned_by_root(name, mode=0o600):
    def do(state):
        path = state / name if name else state
        os.chown(path, 0, 0)
        path.chmod(mode)

    return do


BROKEN = {
    "journal": (owned_by_root("journal", 0o755), "journal", "outcomes are lost"),
    "journal, closed": (owned_by_root("journal", 0o700), "journal", "outcomes are lost"),
    "the state's folder": (owned_by_root("", 0o700), "journal", "cannot be written"),
    "sampling key": (owned_by_root("sampling.key"), "files", "each start uses another key"),
    "database": (owned_by_root("history.db", 0o644), "files", "history.db is not writable"),
    "a bucket of deferrals": (owned_by_root("deferred/00", 0o755), "files", "deferred/00 is not writable"),
    "deferrals": (owned_by_root("deferred", 0o755), "files", "is not writable for the user"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_roots_is_told_and_its_command_fixes_it(state, name):
    breaking, check, words = BROKEN[name]
    assert errors(state) == []
    breaking(state)
    found = errors(state)
    assert [text for text in found if words in text], found
    status, told = health(state)
    assert status == 1
    assert told[check]["health"] == "degraded"
    for text in found:
        assert re.findall(r"(chown|chgrp|chmod|install) ", text), text
        (command,) = re.findall(r"(?:chown|chgrp|chmod|install) [^;:]*(?::daemon \S+)?$", text)
        subprocess.run(["sh", "-c", command], check=True)
    assert errors(state) == []
    status, told = health(state)
    assert {one: value for one, value in told.items() if value["health"] != "healthy" and one != "ingest"} in (
        {},
        {"files": told["files"]} if "psl_file" in told["files"]["text"] else {},
    )


def test_a_conf_that_the_filter_may_not_read(state):
    path = written(state)
    path.chmod(0o600)
    (told,) = [one for one in files.conf_readable(str(path), of_filter()) if one.severity is Severity.ERROR]
    assert f"chgrp {USER} {path} && chmod g+r {path}" in told.text
    subprocess.run(["sh", "-c", told.text.rpartition(": ")[2]], check=True)
    assert files.conf_readable(str(path), of_filter()) == []
    etc = state.parent / "etc"
    etc.mkdir(mode=0o700)
    path = path.rename(etc / "conf.toml")
    (told,) = files.conf_readable(str(path), of_filter())
    subprocess.run(["sh", "-c", told.text.rpartition(": ")[2]], check=True)
    assert files.conf_readable(str(path), of_filter()) == []


def test_a_draft_in_a_folder_of_roots_is_a_warning(state):
    """It is not what the filter reads: the one that the unit names is."""
    path = written(state)
    path.chmod(0o600)
    unit = Unit("/x", USER, "", (), (), (), closed=False, conf="/etc/elsewhere.toml")
    (draft,) = files.conf_readable(str(path), replace(of_filter(unit=unit), is_user_known=False))
    assert draft.severity is Severity.WARNING
    (used,) = files.conf_readable(
        str(path), replace(of_filter(unit=replace(unit, conf=str(path))), is_user_known=False)
    )
    assert used.severity is Severity.ERROR


def test_a_metrics_address_that_another_has(state):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        # Bound and silent, so that nobody answers; then one who listens and says something else.
        (told,) = errors(state, f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        assert f"[metrics] listen: 127.0.0.1:{port}: Address already in use" in told
    assert errors(state, f'[metrics]\nlisten = "127.0.0.1:{port}"\n') == []
    with NameServer({}) as dns:  # speaks DNS by TCP there
        (told,) = errors(state, f'[metrics]\nlisten = "127.0.0.1:{dns.port}"\n')
        assert "another program answers" in told


def test_health_as_another_user_says_what_it_cannot_try(state):
    """Nagios's user may not look into the filter's folders: that is not called fine."""
    path = written(state)
    path.chmod(0o644)
    owned_by_root("", 0o700)(state)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            nobody = pwd.getpwnam("nobody")
            os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
            os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
            from dmarcmilter.config_check import files_and_mta_health
            from dmarcmilter.config_check.environment import of_running_filter

            loaded = load.load(str(path))
            found = files_and_mta_health.journal(
                loaded, of_running_filter(loaded.milter.socket, str(path), postfix_directory="/")
            )
            ok = (
                found.health == 1
                and f"{state}: not writable for the user that runs this check: run it as root" in found.text
            )
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_user_of_a_filter_that_runs_is_who_listens(state):
    from dmarcmilter.config_check import environment

    path = Path(state, "filter.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.chown(path, 0, 0)
        with account_rights.acting_as(account_rights.account(USER)):
            listening.listen()
        found = environment.of_running_filter(f"unix:{path}", "", postfix_directory=str(state))
    assert found.account.name == USER
    assert environment.of_running_filter("inet:1@127.0.0.1", "", postfix_directory=str(state)).conf == ""

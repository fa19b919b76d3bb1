"""Every command in every broken environment, as root, as an ordinary user and as a member of the filter's group.

No command shows a traceback for what an administrator can cause: it says one plain sentence with the path and what to
do, and ends with a status that its man page names. Each run is a fork of this process, so that it can become another
user and costs no start of Python.
"""

import codecs
import gc
import grp
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import command_setup, main
from dmarcmilter.cli.errors import TRACEBACK
from dmarcmilter.history.store import Store, StoreError, execute
from dmarcmilter.testing.name_server import NameServer
from tests.support import journals
from tests.support.paths import PROJECT
from tests.support.unprivileged import ENVIRONMENT, PYTHON

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the users of this test")

FILTER = "daemon"
"""Stands for the filter's user; its group for the filter's group."""
ZONE = {
    "com": {"TXT": []},
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]},
    "example.com": {"TXT": ["v=spf1 -all"]},
}
MAIL = b"Received: from h.example ([192.0.2.1])\nFrom: a@example.com\nTo: b@rcpt.example\nSubject: s\n\nbody\n"
STATUSES = {0, 1, 2}
SENTENCE = r"^(dmarcmilter: |Usage: |\{|DNS did not answer|What was found)"
"""How the text of a command begins that ends with status 2; the last two are answers about DNS that is silent."""
SECONDS = 60


class Machine:
    """A filter's files as the package makes them: conf, state, journal, database, key."""

    def __init__(self, nameserver):
        self.root = Path(tempfile.mkdtemp(prefix="dmarcmilter-env-"))
        self.root.chmod(0o755)
        self.filter = pwd.getpwnam(FILTER)
        self.etc, self.state, self.home = (self.root / name for name in ("etc", "state", "home"))
        for folder, mode in ((self.etc, 0o755), (self.state, 0o750), (self.home, 0o777)):
            folder.mkdir()
            folder.chmod(mode)
        self.conf, self.journal = self.etc / "dmarcmilter.toml", self.state / "journal"
        self.database, self.key = self.state / "history.db", self.state / "sampling.key"
        self.nameserver = nameserver
        self.write()
        records = [*journals.some(8), journals.record(queue_id="4QID")]
        journals.append(self.journal, [record | {"time": "2026-01-15T08:00:00.000Z"} for record in records])
        self.key.write_bytes(b"k" * 32)
        self.mail, self.opendmarc = self.home / "mail.eml", self.home / "opendmarc.dat"
        self.mail.write_bytes(MAIL)
        self.opendmarc.write_text("job 1\nreporter mx.example\nreceived 1700000000\nfrom example.com\n")
        (self.home / "opendmarc.conf").write_text("RejectFailures true\n")
        for path in (self.state, *self.state.rglob("*")):
            os.chown(path, self.filter.pw_uid, self.filter.pw_gid)
        for path in self.journal.iterdir():
            path.chmod(0o640)
        self.journal.chmod(0o750)
        assert self.run("root", "history", "ingest").status == 0
        self.settle()

    def settle(self):
        """As after a writer that has closed the database: forked commands end without doing so."""
        store = Store(f"sqlite:///{self.database}")
        with store.writing() as connection:
            execute(connection, "UPDATE outcomes SET size = 1000")
        store.close()
        assert not list(self.state.glob("history.db-*"))

    def write(self, *more, database="", nameserver=0):
        database = database or f"sqlite:///{self.state}/history.db"
        nameserver = nameserver or self.nameserver
        self.conf.write_text(
            "\n".join(
                [
                    f'[milter]\nsocket = "unix:{self.state}/filter.sock"',
                    f'[dns]\nnameservers = ["127.0.0.1:{nameserver}"]\ntimeout = 1.0\nmessage_budget = 3.0',
                    f'[policy]\nsampling_key = "{self.key}"\n[defer]\ndirectory = "{self.state}/deferred"',
                    f'[history]\njournal = "{self.state}/journal"\ndatabase = "{database}"',
                    '[reports]\nenabled = true\nemail = "d@rcpt.example"\nrelay = "127.0.0.1:1"',
                    f'archive = "{self.state}/archive"\nbounce_address = "b+{{token}}@rcpt.example"',
                    f'[reports.failure]\nenabled = true\nspool = "{self.state}/failures"\nkey = "{self.state}/red.key"',
                    *more,
                ]
            )
            + "\n"
        )

    def run(self, who, *arguments, **options):
        return run(who, [*arguments, "--config", str(self.conf)], self.filter, self.home, **options)


class Done:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def become(who, filter_):
    """root; `ordinary`, with no rights to the filter's files; `member` of its group; or `filter`, its user."""
    nobody = pwd.getpwnam("nobody")
    users = {
        "ordinary": (nobody.pw_uid, nobody.pw_gid, []),
        "member": (nobody.pw_uid, nobody.pw_gid, [filter_.pw_gid]),
        "filter": (filter_.pw_uid, filter_.pw_gid, []),
    }
    if who != "root":
        uid, gid, groups = users[who]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


class Running:
    """A command in a process of its own."""

    def __init__(self, who, arguments, filter_, folder):
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  closed by done()
        self.pid = os.fork()
        if self.pid == 0:
            in_child(who, arguments, filter_, folder, self.out, self.err)

    def done(self):
        status = wait(self.pid)
        texts = []
        for file in (self.out, self.err):
            with file:
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
        return Done(status, *texts)


def run(who, arguments, filter_, folder, *, interrupt_after=0.0):
    running = Running(who, arguments, filter_, folder)
    if interrupt_after:
        time.sleep(interrupt_after)
        os.kill(running.pid, signal.SIGINT)
    return running.done()


def wait(pid):
    end = time.monotonic() + SECONDS
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "endless"
        time.sleep(0.003)


def in_child(who, arguments, filter_, folder, out, err):  # noqa: PLR0917  ends in the fork above
    """Never returns. What pytest has put around this process is taken off first."""
    status = 70
    try:
        import logging
        import warnings

        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("default")
        logging.root.handlers.clear()
        # The Python of these tests may be in a folder of root's; what the commands need of it is loaded.
        command_setup.PROGRAM_FILES = ()
        os.umask(0o022)
        become(who, filter_)
        os.chdir(folder)
        main(arguments, prog_name="dmarcmilter")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


@pytest.fixture(scope="module")
def nameserver():
    with NameServer(ZONE) as server:
        load_everything(server.port)
        yield server.port


def load_everything(nameserver):
    """Run each command once in this process: what it loads late may be in a folder that only root can read."""
    for codec in ("ascii", "idna", "punycode", "latin-1"):
        codecs.lookup(codec)
    for url in ("sqlite://", "postgresql+psycopg://u@127.0.0.1:1/d"):
        with pytest.raises(StoreError), Store(url).reading():
            raise StoreError
    machine = Machine(nameserver)
    for arguments in commands(machine).values():
        CliRunner().invoke(main, arguments)
    shutil.rmtree(machine.root)
    gc.collect()
    gc.freeze()  # a collection in a forked command would copy all of this process's memory


@pytest.fixture
def machine(nameserver):
    made = Machine(nameserver)
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.state)], check=False, capture_output=True)
        shutil.rmtree(made.root, ignore_errors=True)


def commands(machine):
    """Arguments of each command, all that the program has."""
    envelope = ["--ip", "192.0.2.1", "--helo", "h.example", "--mail-from", "a@example.com"]
    queue = ["--config-dir", str(machine.home)]
    conf, config = str(machine.conf), ["--config", str(machine.conf)]
    return {
        "check": ["check", *envelope, str(machine.mail), *config],
        "check of a folder": ["check", *envelope, str(machine.home), *config],
        "config check": ["config", "check", "--postfix", str(machine.home), conf],
        "config check --live": ["config", "check", "--live", "--postfix", str(machine.home), conf],
        "config show": ["config", "show", conf],
        "config from-opendmarc": ["config", "from-opendmarc", str(machine.home / "opendmarc.conf")],
        "config from-opendmarc -o": ["config", "from-opendmarc", str(machine.home / "opendmarc.conf"), "-o", "/proc/x"],
        "explain": ["explain", "4QID", *config],
        "explain a Message-ID": ["explain", "<a@example.com>", *config],
        "health": ["health", "--json", *config],
        "history ingest": ["history", "ingest", *config],
        "history purge": ["history", "purge", "--older-than", "3000", *config],
        "history import-opendmarc": ["history", "import-opendmarc", str(machine.opendmarc), *config],
        "history import-opendmarc -n": ["history", "import-opendmarc", "-n", str(machine.opendmarc), *config],
        "lookup": ["lookup", "example.com", *config],
        "quarantine list": ["quarantine", "list", *queue, *config],
        "quarantine show": ["quarantine", "show", "4QID", *queue, *config],
        "quarantine release": ["quarantine", "release", "--all", "--yes", *queue, *config],
        "quarantine delete": ["quarantine", "delete", "--all", "--yes", *queue, *config],
        "replay": ["replay", *config],
        "report run": ["report", "run", *config],
        "report run --dry-run": ["report", "run", "--dry-run", *config],
        "report show": ["report", "show", "example.com", *config],
        "report status": ["report", "status", *config],
        "report suppressions": ["report", "suppressions", *config],
        "report bounce": ["report", "bounce", "b+00ff@rcpt.example", *config],
        "report unsuppress": ["report", "unsuppress", "x@example.com", *config],
        "report forgive, its old name": ["report", "forgive", "x@example.com", *config],
        "report failures run": ["report", "failures", "run", *config],
        "report failures show": ["report", "failures", "show", *config],
        "stats": ["stats", "--since", "520w", *config],
        "stats --json": ["stats", "--since", "520w", "--json", *config],
        "stats --csv": ["stats", "--since", "520w", "--csv", *config],
        "stats --html": ["stats", "--since", "520w", "--html", str(machine.home / "page.html"), *config],
        "stats --html into a folder that is not there": ["stats", "--html", str(machine.home / "no" / "x"), *config],
    }


ONLY_OUTPUT = {"stats --json", "stats --csv", "stats --html", "stats --html into a folder that is not there"}
"""Commands that read what `stats` reads, and differ in what they write: run where that makes a difference."""
WHERE_OUTPUT_MATTERS = {"as it should be", "state owned by root", "disk read-only", "disk full"}

COMMANDS_NOT_HERE = {"run", "demo"}
"""They serve until they are stopped: see below, and wire/demo/test_demo.py."""


def test_every_command_is_in_the_table(machine):
    def leaves(group, path=()):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from leaves(command, (*path, name))
            else:
                yield (*path, name)

    known = {tuple(word for word in arguments if not word.startswith("-")) for arguments in commands(machine).values()}
    missing = {leaf for leaf in leaves(main) if not any(words[: len(leaf)] == leaf for words in known)}
    assert missing <= {(name,) for name in COMMANDS_NOT_HERE}


# --- what an administrator can break


def give(path, owner, mode):
    os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(owner).gr_gid)
    path.chmod(mode)


def owned_by_root(*names, mode=0o700):
    def do(machine):
        for name in names:
            give(machine.root / name, "root", mode)

    return do


def replaced(name, content=None):
    """By that content, or by a folder."""

    def do(machine):
        path = machine.root / name
        for beside in (path, *path.parent.glob(f"{path.name}-*")):
            if beside.is_dir():
                shutil.rmtree(beside)
            else:
                beside.unlink(missing_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)

    return do


def journal_file_unreadable(machine):
    for path in machine.journal.glob("*.jsonl"):
        give(path, "root", 0o600)


def strange_journal(machine):
    with next(machine.journal.glob("*.jsonl")).open("ab") as file:
        file.write(b"\xff\xfe\n{}\n[]\nnull\n" + b"[" * 100_000 + b'\n{"queue_id": "4QID"}\n"4QID"\n' + b"x" * 100)


def new_conf(*more, **changes):
    return lambda machine: machine.write(*more, **changes)


def mounted(*options):
    """The state on a file system of its own, which is then as told."""

    def do(machine):
        with tempfile.TemporaryDirectory() as copy:
            subprocess.run(["cp", "-a", f"{machine.state}/.", copy], check=True)
            command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0750", "none", str(machine.state)]
            if subprocess.run(command, check=False, capture_output=True).returncode:
                pytest.skip("no file system can be mounted here")
            subprocess.run(["cp", "-a", f"{copy}/.", str(machine.state)], check=True)
        if "full" in options:
            with (machine.state / "filling").open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(machine.state)], check=True)

    return do


def removed(name):
    return lambda machine: (
        shutil.rmtree(machine.root / name) if (machine.root / name).is_dir() else (machine.root / name).unlink()
    )


ENVIRONMENTS = {
    "as it should be": lambda _machine: None,
    "conf is not there": removed("etc/dmarcmilter.toml"),
    "conf unreadable": owned_by_root("etc/dmarcmilter.toml", mode=0o600),
    "conf folder cannot be entered": owned_by_root("etc"),
    "conf is a folder": replaced("etc/dmarcmilter.toml"),
    "conf is not UTF-8": replaced("etc/dmarcmilter.toml", b"[policy]\n# caf\xe9\n"),
    "conf with NUL": replaced("etc/dmarcmilter.toml", b"\0\0\0"),
    "conf names paths with NUL": new_conf('[metrics]\nlisten = "unix:/tmp/\\u0000x"'),
    "state is not there": removed("state"),
    "state is a file": replaced("state", b""),
    "state owned by root": owned_by_root("state"),
    "journal owned by root": owned_by_root("state/journal"),
    "journal is a file": replaced("state/journal", b"x"),
    "journal is not there": removed("state/journal"),
    "journal file unreadable": journal_file_unreadable,
    "journal with strange lines": strange_journal,
    "database owned by root": owned_by_root("state/history.db", mode=0o600),
    "database is garbage": replaced("state/history.db", b"garbage " * 1000),
    "database is empty": replaced("state/history.db", b""),
    "database is a folder": replaced("state/history.db"),
    "database is not there": removed("state/history.db"),
    "database server is down": new_conf(database="postgresql+psycopg://u:secret@127.0.0.1:1/d"),
    "database address is none": new_conf(database="postgresql+psycopg://u@h:port/d"),
    "sampling key owned by root": owned_by_root("state/sampling.key", mode=0o600),
    "sampling key is a folder": replaced("state/sampling.key"),
    "suffix list is not there": new_conf('[dmarc]\npsl_file = "/nowhere/list.dat"'),
    "suffix list is a folder": new_conf('[dmarc]\npsl_file = "/etc"'),
    "name server is silent": new_conf(nameserver=1),
    "disk read-only": mounted("ro"),
    "disk full": mounted("full"),
}


def faults(done):
    """What is wrong with how a command ended."""
    found = []
    if "Traceback" in done.err + done.out:
        found.append("a traceback")
    if "internal error" in done.err:
        found.append("an internal error")
    if "secret" in done.err + done.out:
        found.append("shows a password")
    if done.status not in STATUSES:
        found.append(f"status {done.status}")
    if done.status == 2 and not re.search(SENTENCE, done.err + done.out, re.MULTILINE):
        found.append("no sentence")
    if "ResourceWarning" in done.err:
        found.append("a file was left open")
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_traceback(machine, name):
    ENVIRONMENTS[name](machine)
    wrong = []
    # Those who may only read run side by side; root, who may write, afterwards and alone.
    for users in (("member", "ordinary"), ("root",)):
        for command, arguments in commands(machine).items():
            if command in ONLY_OUTPUT and name not in WHERE_OUTPUT_MATTERS:
                continue
            started = {who: Running(who, arguments, machine.filter, machine.home) for who in users}
            for who, running in started.items():
                done = running.done()
                if problems := faults(done):
                    wrong.append(f"{command!r} as {who}: {', '.join(problems)}\n{done}")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n\n".join(wrong)
    # What root did has made nothing that the filter's user could not write.
    if machine.state.is_dir() and not name.endswith(("owned by root", "unreadable")):
        made = [path for path in machine.state.rglob("*") if path.name != "filling" and not replaced_by_us(path, name)]
        assert [str(path) for path in made if path.stat().st_uid == 0] == []


def replaced_by_us(path, name):
    """What the environment itself has put there, as root."""
    return name.startswith(("database is", "journal is", "sampling key is")) and path.name in {
        "history.db", "journal", "sampling.key", "history.db-wal", "history.db-shm", "history.db-journal"
    }  # fmt: skip


# --- single promises


def test_members_of_the_group_read_statistics(machine):
    done = machine.run("member", "stats", "--since", "520w", "--json")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["messages"] == 9
    assert not list(machine.state.glob("history.db-*"))
    ordinary = machine.run("ordinary", "stats")
    assert ordinary.status == 2
    assert ordinary.err.startswith(f"dmarcmilter: {machine.database}: Permission denied")
    assert ordinary.err.count("\n") == 1


def test_members_read_while_the_filter_writes(machine):
    """The newest transactions are beside the database then; the reader must see them, and disturb nobody."""
    store = Store(f"sqlite:///{machine.database}")
    with store.writing() as connection:
        execute(connection, "UPDATE outcomes SET size = size + 1")
    beside = [machine.state / f"history.db-{name}" for name in ("wal", "shm")]
    assert {path.owner() for path in beside} == {FILTER}  # root had opened it
    before = machine.database.stat().st_mtime_ns
    done = machine.run("member", "stats", "--since", "520w", "--json")
    assert (done.status, json.loads(done.out)["messages"]) == (0, 9)
    assert json.loads(done.out)["octets"] == 9 * 1001
    assert machine.database.stat().st_mtime_ns == before
    with store.writing() as connection:
        execute(connection, "UPDATE outcomes SET size = size + 1")
    store.close()


def test_a_file_that_changes_under_a_reader_without_locks_is_told(machine):
    """In a process that may only read."""
    code = f"""
import os, sys
os.setgroups([{machine.filter.pw_gid}]); os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 0)
from dmarcmilter.history.store import Store, StoreError, rows
store = Store("sqlite:///{machine.database}")
try:
    with store.reading() as connection:
        rows(connection, "SELECT count(*) FROM outcomes")
        os.seteuid(0); os.utime("{machine.database}"); os.seteuid(65534)
except StoreError as error:
    print(error)
"""
    if PYTHON is None:
        pytest.skip("no Python here that another user could run")
    done = subprocess.run(
        [PYTHON, "-c", code], check=False, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{machine.database}: it changed while it was read: run this command again\n"


def test_root_writes_as_the_filters_user(machine):
    """Files of root's among the filter's are what the filter could never write again."""
    shutil.rmtree(machine.state)
    machine.state.mkdir()
    give(machine.state, FILTER, 0o750)
    journals.append(machine.journal, journals.some(3))
    give(machine.journal, FILTER, 0o750)
    for path in machine.journal.iterdir():
        give(path, FILTER, 0o640)
    for arguments in (("history", "ingest"), ("stats",), ("report", "run"), ("check", "--ip", "192.0.2.1", "--helo",
                      "h", "--mail-from", "", str(machine.mail))):  # fmt: skip
        done = machine.run("root", *arguments)
        assert done.status in {0, 1}, done
    owners = {str(path.relative_to(machine.state)): path.owner() for path in machine.state.rglob("*")}
    assert set(owners.values()) == {FILTER}, owners
    assert {"history.db", "journal/ingest.progress"} <= owners.keys()


def test_the_conf_that_may_not_be_read_is_told_and_not_left_out(machine, monkeypatch):
    """Without --config: the defaults are for where there is no conf, not for who may not read it."""
    from dmarcmilter.config import load as config

    monkeypatch.setattr(config, "DEFAULT_PATH", str(machine.conf))
    give(machine.etc, FILTER, 0o750)
    done = run("ordinary", ["stats"], machine.filter, machine.home)
    assert done.status == 2
    assert done.err.startswith(f"dmarcmilter: {machine.conf}: ")
    assert f"a member of the group {FILTER}" in done.err


def program(*arguments, **options):
    command = [sys.executable, "-m", "dmarcmilter", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, **options)


def test_a_reader_that_goes_away(machine):
    """`dmarcmilter ... | head -1`, with more output than a pipe holds, and with less."""
    for arguments in (("config", "show"), ("--help",), ("stats", "--csv", "--since", "520w", "--config", machine.conf)):
        reader, writer = os.pipe()
        os.close(reader)
        process = program(*arguments, stdout=writer)
        os.close(writer)
        _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (1, b""), arguments


def test_standard_output_on_a_full_disk():
    with Path("/dev/full").open("wb") as full:
        process = program("config", "show", stdout=full)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert err == b"dmarcmilter: standard output: No space left on device: the disk is full: make room\n"


def test_check_tells_errors_of_standard_output_from_those_of_the_message(machine, tmp_path):
    message = tmp_path / "m.eml"
    message.write_bytes(b"Subject: no author\r\n\r\nx\r\n")
    # Many messages, so that the output is flushed while the file is still being read.
    many = tmp_path / "m.mbox"
    many.write_bytes(b"From a@b Sat Nov 28 16:00:00 2026\nSubject: no author\n\nx\n\n" * 40)
    for path in (message, many):
        arguments = ("check", "--config", machine.conf, str(path))
        reader, writer = os.pipe()
        os.close(reader)
        process = program(*arguments, stdout=writer)
        os.close(writer)
        _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (1, b""), path
        with Path("/dev/full").open("wb") as full:
            process = program(*arguments, stdout=full)
            _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 2
        assert err == b"dmarcmilter: standard output: No space left on device: the disk is full: make room\n", path


def test_ctrl_c(machine):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        machine.write(nameserver=silent.getsockname()[1])
        done = machine.run("root", "lookup", "example.com", interrupt_after=0.4)
    assert (done.status, done.out, done.err) == (130, "", "dmarcmilter: interrupted\n")


def test_an_encoding_that_lacks_characters(machine):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    process = program(
        "explain", "--lang", "ja", "4QID", "--config", machine.conf, stdout=subprocess.PIPE, env=environment
    )
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, b""), out


def test_an_internal_error_is_one_sentence_too(monkeypatch):
    """Ours to fix, and nothing that an administrator should have to read; the traceback is there for who wants it."""
    import click

    from dmarcmilter.cli.errors import ErrorBoundary

    @click.group(cls=ErrorBoundary)
    def group():
        pass

    @group.command()
    def broken():
        raise ZeroDivisionError("a\nb")

    done = CliRunner().invoke(group, ["broken"])
    assert done.exit_code == 2
    assert done.stderr.startswith("dmarcmilter: internal error: ZeroDivisionError: a b: please report it")
    monkeypatch.setenv(TRACEBACK, "1")
    assert isinstance(CliRunner().invoke(group, ["broken"]).exception, ZeroDivisionError)


RUN = [name for name in ENVIRONMENTS if name.startswith(("conf", "suffix", "state is a file"))]


@pytest.mark.parametrize("name", RUN)
def test_run_that_cannot_start_says_why(machine, name):
    """Status 2 and one sentence; with the socket's folder being a file, too."""
    ENVIRONMENTS[name](machine)
    done = machine.run("ordinary", "run")
    assert done.status == 2, done
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("dmarcmilter: ")

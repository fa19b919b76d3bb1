"""The milter socket: its mode and group, who may take it over, and what is left of it afterwards."""

import grp
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dmarcmilter.config.endpoint import MAX_SOCKET_PATH
from dmarcmilter.config.load import ConfigError, parse
from dmarcmilter.config.schema import MilterSection
from dmarcmilter.daemon.listener import Listener, ListenError
from tests.support.paths import PROJECT


@pytest.fixture
def path(tmp_path):
    # The path of tmp_path may be too long for a socket.
    directory = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 80 else tmp_path
    return directory / "run" / "filter.sock"


@pytest.fixture
def listening(path):
    """Makes listeners on the path and closes them."""
    made = []

    def listen(**settings):
        made.append(Listener(MilterSection(socket=f"unix:{path}", **settings)))
        return made[-1]

    yield listen
    for listener in made:
        listener.close()


def connects(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def left_beside(path):
    return {entry.name for entry in path.parent.iterdir()}


def test_accepts_without_blocking(listening, path):
    listener = listening()
    with pytest.raises(BlockingIOError):
        listener.socket.accept()
    assert connects(path)
    listener.socket.accept()[0].close()


@pytest.mark.parametrize("mode", ["0660", "666", "0600", "0777"])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_mode_in_spite_of_the_umask(listening, path, mode, umask):
    before = os.umask(umask)
    try:
        listening(socket_mode=mode)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == int(mode, 8)


def test_group(listening, path):
    mine = [grp.getgrgid(gid) for gid in {*os.getgroups(), os.getegid()}]
    group = mine[-1] if os.geteuid() else grp.getgrall()[-1]
    listening(socket_group=group.gr_name)
    assert path.stat().st_gid == group.gr_gid
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_unknown_group(listening, path):
    with pytest.raises(ListenError, match=r"socket_group.*'no-such-group'"):
        listening(socket_group="no-such-group")
    assert left_beside(path) == {"filter.sock.lock"}


def test_stale_socket_is_replaced(listening, path):
    path.parent.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.listen()
    stale.close()
    assert path.exists()
    assert not connects(path)
    listening()
    assert connects(path)
    assert left_beside(path) == {"filter.sock", "filter.sock.lock"}


def test_lock_of_a_dead_instance_is_taken(listening, path):
    path.parent.mkdir()
    path.with_name("filter.sock.lock").write_text("")
    listening()
    assert connects(path)


def test_the_lock_is_no_way_to_another_file(path, tmp_path):
    path.parent.mkdir()
    path.with_name("filter.sock.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenError, match="symbolic links"):
        Listener(MilterSection(socket=f"unix:{path}"))
    assert not (tmp_path / "elsewhere").exists()


def test_living_peer_keeps_its_socket(listening, path):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(str(path))
        peer.listen()
        inode = path.stat().st_ino
        with pytest.raises(ListenError, match="another program listens there"):
            listening()
        assert path.stat().st_ino == inode
        assert connects(path)


def test_second_listener_is_refused(listening, path):
    listening()
    inode = path.stat().st_ino
    with pytest.raises(ListenError, match="another dmarcmilter uses this socket"):
        listening()
    assert path.stat().st_ino == inode
    assert connects(path)


def test_close_removes_its_own_socket(listening, path):
    listener = listening()
    listener.close()
    assert left_beside(path) == {"filter.sock.lock"}
    listening()
    assert connects(path)


def test_close_leaves_another_ones_socket(listening, path):
    listener = listening()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        listener.close()
        assert connects(path)


def test_close_when_the_socket_is_gone(listening, path):
    listener = listening()
    path.unlink()
    listener.close()


def test_directory_is_made(listening, path):
    assert not path.parent.exists()
    listening()
    assert path.parent.is_dir()


def test_directory_that_cannot_be(listening, path):
    path.parent.write_text("in the way")
    with pytest.raises(ListenError, match=r"filter\.sock"):
        listening()


def test_path_too_long():
    long = "/" + "x" * MAX_SOCKET_PATH
    with pytest.raises(ConfigError, match=rf"\[milter\] socket: .*at most {MAX_SOCKET_PATH} bytes"):
        parse(f'[milter]\nsocket = "unix:{long}"\n')
    parse(f'[milter]\nsocket = "unix:{long[:-1]}"\n')


def free_port(family, host):
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("family", "name", "host"),
    [
        pytest.param(socket.AF_INET, "inet", "127.0.0.1", id="inet"),
        pytest.param(socket.AF_INET6, "inet6", "::1", id="inet6"),
    ],
)
def test_addresses(family, name, host):
    try:
        port = free_port(family, host)
    except OSError as error:
        pytest.skip(f"this host has no {name}: {error}")
    settings = MilterSection(socket=f"{name}:{port}@{host}")
    listener = Listener(settings)
    try:
        with socket.create_connection((host, port), 5):
            accepted, _ = listener.socket.accept()
            # Without it every reply waits for a delayed acknowledgement.
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted.close()
        with pytest.raises(ListenError) as caught:
            Listener(settings)
        assert str(caught.value) == (
            f"[milter] socket: {name}:{port}@{host}: Address already in use: another program listens there; "
            "`ss -ltnp` shows which"
        )
    finally:
        listener.close()
    Listener(settings).close()


def test_second_instance_ends_with_a_plain_message(listening, path, tmp_path):
    listening()
    conf = tmp_path / "dmarcmilter.toml"
    key = tmp_path / "sampling.key"
    conf.write_text(f'[milter]\nsocket = "unix:{path.resolve()}"\n[policy]\nsampling_key = "{key}"\n')
    command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(conf)]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "another dmarcmilter uses this socket" in done.stderr
    assert "Traceback" not in done.stderr
    assert connects(path)


# --- those who leave late


@pytest.fixture
def leaves_late():
    """Somebody who listens for a moment longer, as the workers of a supervisor that was killed."""
    timers = []

    def start(listening):
        timers.append(threading.Timer(0.4, listening.close))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def test_a_path_is_waited_for(listening, path, leaves_late):
    path.parent.mkdir()
    orphan = socket.socket(socket.AF_UNIX)
    orphan.bind(str(path))
    orphan.listen()
    leaves_late(orphan)
    listening()
    assert connects(path)


def test_an_address_is_waited_for(leaves_late):
    orphan = socket.create_server(("127.0.0.1", 0))
    port = orphan.getsockname()[1]
    leaves_late(orphan)
    listener = Listener(MilterSection(socket=f"inet:{port}@127.0.0.1"))
    assert listener.socket.getsockname()[1] == port
    listener.close()

"""conf/quarantine.sieve with Pigeonhole itself, on messages as the filter lets them be delivered."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.testing.postfix_headers import split_message
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import ZONE, conf

RECIPE = PROJECT / "conf" / "quarantine.sieve"
FORGED = b"From: a@quarantine.example\r\nTo: b@rcpt.example\r\nSubject: x\r\n\r\nbody\r\n"
MARK = b"X-DMARC-Quarantine: yes\r\n"
FINE = FORGED.replace(b"@quarantine.", b"@none.")

pytestmark = pytest.mark.skipif(
    not shutil.which("sieve-test"), reason="Pigeonhole is not installed: these tests need the package dovecot-sieve"
)


@pytest.fixture(scope="module", params=["header", "subject"])
def client(request):
    with NameServer(ZONE) as dns:
        sections = conf(dns, policy={"quarantine_action": request.param})
        with FilterDaemon(sections) as daemon, MilterClient(daemon.address, timeout=60) as client:
            yield client


@pytest.fixture
def filed(client):
    """The folders in which Pigeonhole stores the message once the filter has seen it."""

    def file(message):
        verdict = client.deliver(message)
        head = b"".join(name + b":" + value + b"\r\n" for name, value in verdict.headers)
        with tempfile.TemporaryDirectory(prefix="sieve-test-") as directory:
            return folders(Path(directory), head + b"\r\n" + split_message(message)[1])

    return file


def folders(directory, message):
    # Pigeonhole gives up root's rights; that it cannot keep the compiled script then is no matter.
    directory.chmod(0o755)
    recipe, delivered, own = directory / RECIPE.name, directory / "message.eml", directory / "dovecot.conf"
    shutil.copy(RECIPE, recipe)
    delivered.write_bytes(message)
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    own.write_text(
        f"mail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\nfirst_valid_uid = 1\nssl = no\n"
        f"log_path = /dev/stderr\nmail_home = {directory}/home\nmail_location = maildir:~/Maildir\n"
    )
    command = ["sieve-test", "-c", str(own), str(recipe), str(delivered)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [line.rpartition(" ")[2] for line in done.stdout.splitlines() if "store message in folder" in line]


def test_what_is_marked_goes_to_junk(filed):
    assert filed(FORGED) == ["Junk"]


def test_what_passes_goes_to_the_inbox(filed):
    assert filed(FINE) == ["INBOX"]


def test_nobody_else_can_mark(filed):
    assert filed(MARK + FINE) == ["INBOX"]
    assert filed(b"x-dmarc-quarantine : no\r\n" + MARK + FORGED) == ["Junk"]

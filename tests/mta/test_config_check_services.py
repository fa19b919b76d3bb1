"""Mistakes in a real Postfix's configuration that defer mail or let it past the filter: each is told as an error, and
the command that the advice prints fixes it.

A filter runs; `config check --live` and `health` look at it beside the private configuration. For some of the
mistakes a real Postfix then shows that mail is really deferred, or unfiltered.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.cli.health import CHECKS
from dmarcmilter.config import account_rights, load
from dmarcmilter.config_check import environment as environments
from dmarcmilter.config_check import filter_reachable as live_socket
from dmarcmilter.config_check import mta
from dmarcmilter.postfix import postconf, socket_access
from dmarcmilter.postfix.postconf import MailOrigin
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta import postfix as mta_postfix
from tests.support.mta.postfix import PostfixServer
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import ZONE, wait_until

pytestmark = pytest.mark.skipif(bool(mta_postfix.missing_postfix()), reason=mta_postfix.missing_postfix() or "-")

MASTER = "smtp inet n - {chroot} - - smtpd\n{more}\ncleanup unix n - {chroot} - 0 cleanup\n"
SPOOF = b"From: a@reject.example\r\nTo: b@rcpt.example\r\nSubject: s\r\n\r\nb\r\n"
ENVELOPE = {
    "client_ip": "192.0.2.66",
    "helo": "h.example",
    "mail_from": "x@none.example",
    "rcpts": ["b@rcpt.example"],
}


class Site:
    """A filter with its socket in the queue directory of a Postfix that is configured and does not run."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.directory = Path(daemon.directory, "postfix")
        self.queue = daemon.directory  # the socket is in it
        self.directory.mkdir()

    @property
    def socket(self):
        return self.daemon.socket

    def configure(self, settings, more="", chroot="n"):
        text = mta_postfix.MAIN_CF.format(directory=self.directory, sink=1, milter="", default_action="tempfail")
        text = re.sub(r"^queue_directory.*$", f"queue_directory = {self.queue}", text, flags=re.MULTILINE)
        names = {"smtpd_milters": "unix:filter.sock"} | settings
        lines = [line for line in text.splitlines() if line.partition(" ")[0] not in names]
        (self.directory / "main.cf").write_text("\n".join(lines + [f"{k} = {v}" for k, v in names.items()]) + "\n")
        (self.directory / "master.cf").write_text(MASTER.format(chroot=chroot, more=more))

    def check(self):
        """What `config check --live` tells, without the name servers and the database."""
        loaded = load.load(str(self.daemon.conf))
        environment = environments.gather(postfix_directory=str(self.directory))
        found = [
            *mta.findings(loaded, environment),
            *mta.live_findings(loaded, environment),
            *live_socket.findings(loaded.milter.socket, environment),
        ]
        return {
            severity: [one.text for one in found if one.severity == severity] for severity in ("error", "warning", "ok")
        }

    def health(self, *names):
        skipped = (f"--skip={name}" for name in CHECKS if name not in {"mta", *names})
        command = ["health", "--json", "--postfix", str(self.directory), "--config", str(self.daemon.conf), *skipped]
        done = CliRunner().invoke(main, command)
        return done.exit_code, json.loads(done.stdout)["checks"]["mta"]

    def fix(self, text):
        """Run the commands that the advice names, but for those of a Postfix that runs."""
        commands = re.findall(r"postconf -c [^&]*?'[^']*'", text)
        assert commands, f"no command in: {text}"
        for command in commands:
            subprocess.run(shlex.split(command), check=True, capture_output=True)


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def running(dns):
    with FilterDaemon({"dns": {"nameservers": [dns]}, "identity": {"authserv_id": "mx.test.example"}}) as daemon:
        yield Site(daemon)


@pytest.fixture
def site(running, dns):
    running.daemon.write_conf({"dns": {"nameservers": [dns]}, "identity": {"authserv_id": "mx.test.example"}})
    return running


def conf(site, dns, **sections):
    own = {"dns": {"nameservers": [dns]}, "identity": {"authserv_id": "mx.test.example"}}
    site.daemon.write_conf(own | sections)


SUBMISSION = "submission inet n - n - - smtpd\n"
AMAVIS = "127.0.0.1:10025 inet n - n - - smtpd\n"
NO_NETWORKS = {"ignore": {"networks": []}}
LOGINS_TOO = {"ignore": {"authenticated": False}}

# Settings of main.cf, lines of master.cf, chroot, sections of our conf, severity, words of what is told.
MISTAKES = {
    "no milters at all": ({"smtpd_milters": ""}, "", "n", {}, "error", "smtpd_milters of smtp/inet is nothing"),
    "another milter only": ({"smtpd_milters": "inet:localhost:8891"}, "", "n", {}, "error", "never reaches the filter"),
    "master.cf overrides": ({}, "  -o smtpd_milters=", "n", {}, "error", "smtpd_milters of smtp/inet is nothing"),
    "master.cf overrides by another": (
        {},
        "  -o smtpd_milters=inet:localhost:8891",
        "n",
        {},
        "error",
        "smtpd_milters of smtp/inet is inet:localhost",
    ),
    "a second service without": (
        {},
        "2525 inet n - n - - smtpd\n  -o smtpd_milters=",
        "n",
        {},
        "error",
        "smtpd_milters of 2525/inet is nothing",
    ),
    "the whole path in a chroot": (
        {"smtpd_milters": "unix:{socket}"},
        "",
        "y",
        {},
        "error",
        "runs in a chroot in {queue}, so that unix:{socket} leads to",
    ),
    "the whole path in a chroot, with options": (
        {"smtpd_milters": "inet:localhost:8891, { unix:{socket}, connect_timeout=5s }"},
        "",
        "y",
        {},
        "error",
        "leads to",
    ),
    "the chroot's path without a chroot": (
        {"smtpd_milters": "unix:/filter.sock"},
        "",
        "n",
        {},
        "error",
        "smtpd_milters of smtp/inet has unix:/filter.sock",
    ),
    "proxy filter": (
        {"smtpd_proxy_filter": "127.0.0.1:10024"},
        "",
        "n",
        {},
        "error",
        "smtpd_proxy_filter 127.0.0.1:10024",
    ),
    "proxy filter in master.cf": (
        {},
        "  -o smtpd_proxy_filter=127.0.0.1:9",
        "n",
        {},
        "error",
        "neither header nor body",
    ),
    "no_milters": ({"receive_override_options": "no_milters"}, "", "n", {}, "error", "has no_milters"),
    "no_milters in master.cf": (
        {},
        "  -o receive_override_options=no_address_mappings,no_milters",
        "n",
        {},
        "error",
        "has no_milters",
    ),
    "milter_protocol 2": ({"milter_protocol": "2"}, "", "n", {}, "error", "milter_protocol is 2"),
    "milter_protocol 3 in master.cf": (
        {},
        "  -o milter_protocol=3",
        "n",
        {},
        "error",
        "milter_protocol of smtp/inet is 3",
    ),
    "protocol 4 of the entry": (
        {"smtpd_milters": "{ unix:filter.sock, protocol=4 }"},
        "",
        "n",
        {},
        "error",
        "protocol of our entry",
    ),
    "default action accept": ({"milter_default_action": "accept"}, "", "n", {}, "warning", "delivered unfiltered"),
    "default action of the entry": (
        {"smtpd_milters": "{ unix:filter.sock, default_action=accept }"},
        "",
        "n",
        {},
        "warning",
        "default_action of our entry",
    ),
    "default action in master.cf": (
        {},
        "  -o milter_default_action=reject",
        "n",
        {},
        "warning",
        "good mail is refused for good",
    ),
    "submission inherits": (
        {},
        SUBMISSION,
        "n",
        {},
        "warning",
        "submission/inet hands the filter the mail of your own",
    ),
    "submission inherits, logins are evaluated": (
        {},
        SUBMISSION,
        "n",
        LOGINS_TOO,
        "error",
        "evaluated like mail of others",
    ),
    "smtps inherits beside a signer": (
        {"smtpd_milters": "inet:localhost:8891,unix:filter.sock"},
        "smtps inet n - n - - smtpd\n",
        "n",
        {},
        "warning",
        "smtps/inet hands the filter",
    ),
    "logins at a port of their own": (
        {},
        "2587 inet n - n - - smtpd\n  -o smtpd_client_restrictions=permit_sasl_authenticated,reject",
        "n",
        LOGINS_TOO,
        "error",
        "2587/inet hands the filter",
    ),
    "a content filter's way back": ({}, AMAVIS, "n", {}, "warning", "127.0.0.1:10025/inet, where a content filter"),
    "a content filter's way back, loopback is evaluated": ({}, AMAVIS, "n", NO_NETWORKS, "error", "SPF fails"),
    "a way back at another port": ({}, "[::1]:2526 inet n - n - - smtpd\n", "n", NO_NETWORKS, "error", "SPF fails"),
    "a way back by mynetworks": (
        {},
        "10030 inet n - n - - smtpd\n  -o mynetworks=127.0.0.0/8",
        "n",
        NO_NETWORKS,
        "error",
        "10030/inet, where",
    ),
    "non_smtpd_milters": (
        {"non_smtpd_milters": "inet:localhost:8891,unix:filter.sock"},
        "",
        "n",
        {},
        "warning",
        "programs",
    ),
    "non_smtpd_milters, loopback is evaluated": (
        {"non_smtpd_milters": "unix:filter.sock"},
        "",
        "n",
        NO_NETWORKS,
        "error",
        "non_smtpd_milters has our socket",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_and_its_command_fixes_it(site, dns, name):
    settings, more, chroot, sections, severity, words = MISTAKES[name]

    def filled(text):
        return text.replace("{socket}", str(site.socket)).replace("{queue}", str(site.queue))

    conf(site, dns, **sections)
    site.configure({key: filled(value) for key, value in settings.items()}, more, chroot)
    found = site.check()
    told = [text for text in found[severity] if filled(words) in text]
    assert told, found
    status, told_by_health = site.health()
    assert (status == 2 and told_by_health["health"] == "down") == (severity == "error"), told_by_health
    for text in told:
        site.fix(text)
    found = site.check()
    assert not [text for text in found["error"] + found["warning"] if text.startswith("Postfix:")], found
    assert any("names our socket" in text for text in found["ok"])
    assert site.health()[1]["health"] == "healthy"


def test_what_others_have_in_the_list_stays(site):
    site.configure({"smtpd_milters": "{ inet:localhost:8891, default_action=accept } unix:/x/y"}, "", "y")
    (told,) = [text for text in site.check()["error"] if "never reaches" in text]
    site.fix(told)
    found = postconf.find(str(site.directory)).services[0]
    assert (
        found.settings["smtpd_milters"] == "{ inet:localhost:8891, default_action=accept },unix:/x/y,unix:filter.sock"
    )
    assert "(beside inet:localhost:8891, unix:/x/y: milters that change messages have to come after ours)" in "".join(
        site.check()["ok"]
    )


def test_a_correct_site_is_healthy(site):
    for chroot in ("y", "n"):
        site.configure(
            {}, SUBMISSION + "  -o smtpd_milters=\n" + AMAVIS + "  -o smtpd_milters=inet:localhost:8891", chroot
        )
        found = site.check()
        assert not [text for text in found["error"] + found["warning"] if "Postfix" in text], found
        assert site.health() == (0, {"health": "healthy", "text": "Postfix hands its mail to the filter"})


def test_a_folder_that_is_mounted_into_the_chroot(site):
    """By another name there, it is the same socket."""
    elsewhere = site.queue / "run"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "filter.sock").unlink(missing_ok=True)
    os.link(site.socket, elsewhere / "filter.sock")
    site.configure({"smtpd_milters": "unix:/run/filter.sock"}, "", "y")
    assert not [text for text in site.check()["error"] if "Postfix" in text]


def test_a_second_instance_that_names_us(site, tmp_path):
    """The main one is a null client; the mail from outside comes by the other (MULTI_INSTANCE_README)."""
    site.configure({"receive_override_options": "no_milters"})
    main_cf = (
        f"myhostname = mx.test.example\nmulti_instance_directories = {site.directory}\ncompatibility_level = 3.6\n"
    )
    (tmp_path / "main.cf").write_text(main_cf)
    (tmp_path / "master.cf").write_text("smtp inet n - n - - smtpd\n")
    primary = postconf.find(str(tmp_path))
    (second,) = postconf.other_instances(primary)
    assert second.directory == str(site.directory)
    environment = replace(NOWHERE, postfix=primary, instances=(second,))
    loaded = load.load(str(site.daemon.conf))
    told = [one.text for one in mta.live_findings(loaded, environment) if str(one).startswith("error")]
    (text,) = told
    assert "has no_milters" in text
    assert f"postfix -c {site.directory} reload" in text


def test_kinds_of_services(site):
    names = ("465 inet", "10026 inet", "localhost:26 inet", "x unix", "smtpd pass", "192.0.2.1:25 inet")
    site.configure({}, "".join(f"{name} n - n - - smtpd\n" for name in names))
    found = postconf.find(str(site.directory))
    assert [one.name for one in found.services] == ["smtp/inet", "smtpd/pass", "192.0.2.1:25/inet"]
    assert {one.name: one.kind for one in found.own} == {
        "465/inet": MailOrigin.SUBMISSION,
        "10026/inet": MailOrigin.REINJECTION,
        "localhost:26/inet": MailOrigin.REINJECTION,
        "x/unix": MailOrigin.REINJECTION,
    }


def test_only_loopback_services_take_the_mail_of_others(site):
    """Behind a proxy on the same machine, or in a trial."""
    site.configure({})
    (site.directory / "master.cf").write_text("127.0.0.1:2525 inet n - n - - smtpd\n")
    assert [one.kind for one in postconf.find(str(site.directory)).services] == [MailOrigin.PUBLIC]


# --- with the rights of Postfix


@pytest.fixture
def own_site(dns):
    with FilterDaemon({"dns": {"nameservers": [dns]}, "identity": {"authserv_id": "mx.test.example"}}) as daemon:
        yield Site(daemon)


FOLDERS = {
    "of root, closed": (0, 0, 0o700, "chgrp postfix {folder} && chmod 2750 {folder}"),
    "of root's group": (0, 0, 0o750, "chgrp postfix {folder} && chmod 2750 {folder}"),
    "of another group": (1, 1, 0o750, "chgrp postfix {folder} && chmod 2750 {folder}"),
}


@pytest.mark.parametrize("chroot", ["y", "n"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_socket_folder_that_postfix_cannot_enter(own_site, name, chroot):
    """Tried as Postfix's user, in its chroot; what is above the queue directory does not count."""
    user, group, mode, words = FOLDERS[name]
    folder = own_site.queue / "dmarc"
    folder.mkdir()
    inner = folder / "filter.sock"
    os.link(own_site.socket, inner)
    os.chown(folder, user, group)
    folder.chmod(mode)
    own_site.daemon.socket = inner
    own_site.daemon.write_conf(
        {"identity": {"authserv_id": "mx.test.example"}, "dns": {"nameservers": ["127.0.0.1:1"]}}
    )
    own_site.configure({"smtpd_milters": "unix:dmarc/filter.sock"}, "", chroot)
    words = words.replace("{folder}", str(folder))
    errors = own_site.check()["error"]
    assert [text for text in errors if words in text], errors
    assert not [text for text in errors if "usermod" in text]
    status, told = own_site.health()
    assert (status, told["health"]) == (2, "down")
    assert words in told["text"]
    # The command, but for the restart: the socket gets its group when it is made.
    subprocess.run(["sh", "-c", f"chgrp postfix {folder} && chmod 2750 {folder}"], check=True)
    assert own_site.health()[1]["health"] == "healthy"


def test_a_socket_that_postfix_may_not_write_to(own_site):
    own_site.configure({})
    own_site.socket.chmod(0o600)
    errors = own_site.check()["error"]
    assert [
        text for text in errors if "cannot connect to unix:filter.sock as user postfix, so its mail is deferred" in text
    ]
    own_site.socket.chmod(0o666)
    assert not [text for text in own_site.check()["error"] if "Postfix" in text]


def test_what_is_above_the_queue_directory_does_not_count_in_a_chroot(own_site):
    """smtpd starts there, and never looks above."""
    service = postconf.Service("smtp/inet", chrooted=True, milters=())
    found = postconf.Postfix("mx", str(own_site.queue), "postfix", "6", "", None, (service,))
    user = account_rights.account("postfix")
    assert socket_access.connect_as(user, "unix:filter.sock", service, found) == 0
    assert socket_access.connect_as(user, "unix:nothing", service, found) == 2
    assert socket_access.connect_as(user, "inet:127.0.0.1:1", service, found) == socket_access.CANNOT_TRY
    assert socket_access.connect_as(None, "unix:filter.sock", service, found) == socket_access.CANNOT_TRY


def test_nobody_listens(own_site):
    own_site.configure({})
    own_site.daemon.process.terminate()
    own_site.daemon.process.wait(20)
    assert [
        text for text in own_site.check()["error"] if "the filter does not run: systemctl start dmarcmilter" in text
    ]
    assert own_site.health("socket")[0] == 2


# --- what a real Postfix does with these mistakes


@pytest.mark.parametrize(
    ("settings", "reply"),
    [
        ({}, 550),
        ({"receive_override_options": "no_milters"}, 250),
        ({"milter_default_action": "accept"}, 550),
    ],
    ids=str,
)
def test_what_mail_really_meets(dns, settings, reply):
    """`reply`: to a forgery, which the policy asks to refuse with 550."""
    sections = {"dns": {"nameservers": [dns]}, "policy": {"mode": "enforce"}, "ignore": {"networks": []}}
    with FilterDaemon(sections) as daemon, Sink() as sink:
        wait_until(lambda: "ready: " in daemon.log(), "the start")
        with PostfixServer(f"unix:{daemon.socket}", sink_port=sink.port, settings=settings) as server:
            code, _ = server.submit(data=SPOOF, **ENVELOPE)
            done = CliRunner().invoke(
                main, ["health", "--json", "--postfix", str(server.config), "--config", str(daemon.conf)]
            )
    told = json.loads(done.stdout)["checks"]["mta"]
    assert code == reply
    assert (told["health"] == "healthy") == (reply == 550), told

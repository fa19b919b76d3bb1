"""Services that pass the filter by, or hand it the wrong mail. (Real Postfix: mta/test_config_check_services.py.)"""

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import postfix_services
from dmarcmilter.postfix import socket_access
from dmarcmilter.postfix.postconf import MailOrigin, Service, milter_names
from dmarcmilter.value import replace
from tests.support.config_check import POSTFIX

ADDRESS = "unix:/var/spool/postfix/dm/dm.sock"
OURS = "unix:dm/dm.sock"


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch):
    monkeypatch.setattr(socket_access, "connect_as", lambda *_: socket_access.CANNOT_TRY)


def service(milters=OURS, name="smtp/inet", kind=MailOrigin.PUBLIC, overridden=(), **settings):
    values = {"smtpd_milters": milters} | settings
    return Service(name, True, milter_names(milters), kind, values, frozenset(overridden))


def said(*public, own=(), main=None, address=ADDRESS, more=""):
    conf = load.parse(f'[milter]\nsocket = "{address}"\n{more}')
    postfix = replace(POSTFIX, services=public, own=own, main=main or {})
    return postfix_services.findings(conf, parse_socket(address), postfix)


def texts(findings, severity=Severity.ERROR):
    return [finding.text for finding in findings if finding.severity is severity]


def test_a_service_that_names_our_socket():
    [finding] = said(service())
    assert str(finding) == "ok: Postfix: smtpd_milters of smtp/inet names our socket"
    [finding] = said(service(f"inet:127.0.0.1:11332, {OURS}"))
    assert "beside inet:127.0.0.1:11332" in finding.text


@pytest.mark.parametrize(
    ("milters", "words", "fix"),
    [
        ("", "is nothing, not our socket", "postconf -e 'smtpd_milters = unix:dm/dm.sock'"),
        ("inet:h:1", "is inet:h:1, not our socket", "postconf -e 'smtpd_milters = inet:h:1,unix:dm/dm.sock'"),
        (ADDRESS, "runs in a chroot", "postconf -e 'smtpd_milters = unix:dm/dm.sock'"),
        (f"{{{ADDRESS}, timeout=5s}} inet:h:1", "runs in a chroot",
         "postconf -e 'smtpd_milters = {unix:dm/dm.sock, timeout=5s},inet:h:1'"),
    ],
)  # fmt: skip
def test_a_service_that_does_not_name_it_and_the_command_that_keeps_the_other_milters(milters, words, fix):
    [text] = texts(said(service(milters)))
    assert words in text
    assert fix in text


def test_a_setting_in_master_cf_is_fixed_there():
    [text] = texts(said(service("", overridden=["smtpd_milters"])))
    assert "postconf -P 'smtp/inet/smtpd_milters=unix:dm/dm.sock'" in text


def test_a_socket_that_no_path_in_the_chroot_leads_to():
    [text] = texts(said(service(), address="unix:/run/dm.sock"))
    assert "where no path leads to unix:/run/dm.sock" in text
    assert "postconf -F 'smtp/inet/chroot=n'" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"smtpd_proxy_filter": "127.0.0.1:10025"}, "milters then see neither header nor body"),
        ({"receive_override_options": "no_address_mappings, no_milters"},
         "postconf -e 'receive_override_options = no_address_mappings'"),
    ],
)  # fmt: skip
def test_settings_by_which_a_named_filter_still_gets_no_mail(settings, words):
    [text] = texts(said(service(**settings)))
    assert words in text


def test_milter_maps_may_leave_clients_out():
    [text] = texts(said(service(smtpd_milter_maps="cidr:/etc/postfix/maps")), Severity.WARNING)
    assert "replaces smtpd_milters for some clients of smtp/inet" in text


@pytest.mark.parametrize(
    ("value", "severity"),
    [("6", Severity.OK), ("7", Severity.OK), ("6 quarantine", Severity.OK), ("4", Severity.ERROR), ("", Severity.ERROR),
     ("six", Severity.ERROR)],
)  # fmt: skip
def test_versions_of_the_protocol(value, severity):
    assert postfix_services.protocol(value, "milter_protocol", "fix").severity is severity


@pytest.mark.parametrize(
    ("value", "severity"),
    [("tempfail", Severity.OK), ("", Severity.OK), ("TEMPFAIL", Severity.OK), ("shutdown", Severity.OK),
     ("accept", Severity.WARNING), ("reject", Severity.WARNING), ("quarantine", Severity.WARNING),
     ("junk", Severity.WARNING)],
)  # fmt: skip
def test_what_becomes_of_mail_without_the_filter(value, severity):
    assert postfix_services.default_action(value, "milter_default_action", "fix").severity is severity


def test_options_of_our_entry_count_and_those_of_others_do_not():
    ours = service(f"{{{OURS}, default_action=accept, protocol=4}}, {{inet:h:1, default_action=accept}}")
    findings = said(ours)
    assert len(texts(findings)) == len(texts(findings, Severity.WARNING)) == 1
    assert all("our entry in smtpd_milters of smtp/inet" in finding.text for finding in findings)
    assert texts(said(service(f"{OURS}, {{inet:h:1, protocol=4}}"))) == []


@pytest.mark.parametrize(("authenticated", "severity"), [("true", Severity.WARNING), ("false", Severity.ERROR)])
def test_a_service_for_own_users_should_not_name_it(authenticated, severity):
    users = service(f"{OURS},inet:h:1", "submission/inet", MailOrigin.SUBMISSION)
    findings = said(service(), own=(users,), more=f"[ignore]\nauthenticated = {authenticated}")
    [text] = texts(findings, severity)
    assert "postconf -P 'submission/inet/smtpd_milters=inet:h:1'" in text
    assert texts(said(service(), own=(service("inet:h:1", "submission/inet", MailOrigin.SUBMISSION),))) == []


@pytest.mark.parametrize(("networks", "severity"), [('["127.0.0.0/8"]', Severity.WARNING), ("[]", Severity.ERROR)])
def test_mail_that_comes_back_or_is_made_here(networks, severity):
    back = service(OURS, "10025/inet", MailOrigin.REINJECTION)
    more = f"[ignore]\nnetworks = {networks}"
    assert len(texts(said(service(), own=(back,), more=more), severity)) == 1
    [text] = texts(said(service(), main={"non_smtpd_milters": f"inet:h:1, {OURS}"}, more=more), severity)
    assert "postconf -e 'non_smtpd_milters = inet:h:1'" in text


def test_a_postfix_without_a_service_for_others():
    assert texts(said()) == ["Postfix: no smtpd in master.cf takes mail from others"]

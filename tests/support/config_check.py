"""The surroundings of `config check` for tests: a machine of which nothing is known."""

from datetime import date

from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import mta
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.postfix.postconf import Postfix, Service
from dmarcmilter.value import replace

TODAY = date(2027, 1, 15)
NOWHERE = Environment(today=TODAY, hostname="mx.example.net", user="", account=None, unit=None, postfix=None)

SERVICES = (Service("smtp/inet", chrooted=True, milters=("unix:dm/dm.sock",)),)
POSTFIX = Postfix("mx.example.net", "/var/spool/postfix", "postfix", "6", "tempfail", 300.0, SERVICES)
SCENE = replace(NOWHERE, postfix=POSTFIX)
INSIDE = 'socket = "unix:/var/spool/postfix/dm/dm.sock"\nsocket_mode = "0660"'


def said(milter, environment=SCENE, more="", *, live=False):
    conf = load.parse(f"[milter]\n{milter}\n{more}")
    found = mta.live_findings(conf, environment) if live else mta.findings(conf, environment)
    return [one.text for one in found if one.severity is not Severity.OK]

"""What the real postconf says, as config check reads it."""

import pytest

from dmarcmilter.config_check import mta
from dmarcmilter.postfix import postconf
from tests.support.mta import postfix as mta_postfix


@pytest.fixture(autouse=True)
def _no_postfix(monkeypatch, tmp_path):
    monkeypatch.setattr(mta, "POSTFIX_QUEUE", str(tmp_path / "nowhere"))


MASTER = """\
smtp      inet n - y - - smtpd
  -o smtpd_milters={unix:dm/dm.sock,default_action=accept},inet:localhost:8893
25        inet n - n - 1 postscreen
smtpd     pass - - - - - smtpd
submission inet n - n - - smtpd
127.0.0.1:587 inet n - n - - smtpd
"""


@pytest.fixture
def directory(tmp_path):
    """A main.cf and master.cf that no Postfix runs with."""
    missing = mta_postfix.missing_postfix()
    if "not installed" in missing:
        pytest.skip(missing)
    text = mta_postfix.MAIN_CF.format(directory=tmp_path, sink=1, milter="unix:/x/y.sock", default_action="accept")
    (tmp_path / "main.cf").write_text(text)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


def test_what_postconf_says(directory):
    found = postconf.find(str(directory))
    assert (found.hostname, found.owner, found.protocol) == ("mx.test.example", "postfix", "6")
    assert (found.default_action, found.content_timeout) == ("accept", 60.0)
    assert found.queue_directory == f"{directory}/spool"
    assert [(service.name, service.chrooted, service.milters) for service in found.services] == [
        ("smtp/inet", True, ("unix:dm/dm.sock", "inet:localhost:8893")),
        ("smtpd/pass", False, ("unix:/x/y.sock",)),
    ]


def test_before_postfix_3_a_service_without_a_word_is_chrooted(directory):
    main = directory / "main.cf"
    main.write_text(main.read_text().replace("compatibility_level = 3.6", "compatibility_level = 0"))
    assert postconf.find(str(directory)).services[1].chrooted

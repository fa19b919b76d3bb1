"""`dmarcmilter config show`."""

from dmarcmilter.config import load
from dmarcmilter.config.schema import Config
from tests.support.commands import run, write_conf

TRICKY = """
author_text = 'quotes " and \\ backslash'
info_url = "https://a.example/?q=%20&x"
[identity]
remove_authserv_ids = ["a", "b.example"]
[ignore]
authenticated = false
networks = []
"""


def test_config_show_loads_back_equal(tmp_path):
    conf = write_conf(tmp_path, 53, TRICKY)
    shown = run("config", "show", conf)
    assert shown.exit_code == 0
    assert load.parse(shown.stdout) == load.load(conf)
    assert run("config", "show").stdout == run("config", "show", "").stdout
    assert load.parse(run("config", "show").stdout) == Config()


def test_config_show_of_changes(tmp_path):
    conf = write_conf(tmp_path, 53, TRICKY)
    shown = run("config", "show", "-n", conf).stdout
    assert load.parse(shown) == load.load(conf)
    assert "reject_action" not in shown
    assert run("config", "show", "-n").stdout == ""

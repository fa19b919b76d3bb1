import socket
import stat

import pytest

from dmarcmilter import receiver
from dmarcmilter.config import generated_secret, load
from dmarcmilter.config.load import ConfigError
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy.rules import AuthorAction, Mode, OnTemperror
from dmarcmilter.response.reply_templates import ReplyTexts
from dmarcmilter.value import replace


@pytest.fixture
def suffixes(tmp_path):
    path = tmp_path / "list.dat"
    path.write_text("com\nco.uk\n", encoding="utf-8")
    return path


@pytest.fixture
def conf(tmp_path, suffixes):
    return load.parse(f'[policy]\nsampling_key = "{tmp_path}/state/sampling.key"\n[dmarc]\npsl_file = "{suffixes}"\n')


def with_key(conf, path):
    return replace(conf, policy=replace(conf.policy, sampling_key=str(path)))


def test_values_come_from_the_conf(tmp_path, suffixes):
    found = receiver.build(
        load.parse(f"""
[policy]
mode = "monitor"
reject_text = "r {{domain}}"
author_text = "a"
defer_text = "d"
info_url = "u"
sampling_key = "{tmp_path}/k"
[dmarc]
discovery = "psl"
psl_file = "{suffixes}"
pct = "ignore"
temperror = "tempfail"
[author]
on_missing = "accept"
on_multiple = "quarantine"
[arc]
trusted_sealers = ["Hop.Example", "bücher.example."]
""")
    )
    settings = found.pipeline
    assert settings.response.texts == ReplyTexts(reject="r {domain}", author="a", defer="d", info_url="u")
    assert (settings.discovery.method, settings.discovery.honor_pct) == (Method.PSL, False)
    assert settings.discovery.suffixes.organizational_domain(Domain("a.b.co.uk")) == "b.co.uk"
    rules = settings.rules
    assert (rules.mode, rules.temperror) == (Mode.MONITOR, OnTemperror.TEMPFAIL)
    assert (rules.on_missing, rules.on_multiple, rules.on_malformed) == (
        AuthorAction.ACCEPT,
        AuthorAction.QUARANTINE,
        AuthorAction.REJECT,
    )
    assert rules.trusted_sealers == {"hop.example", "xn--bcher-kva.example"}


def test_key_is_made_once_for_the_owner_only(conf, tmp_path):
    # POL-12
    first = receiver.build(conf)
    path = tmp_path / "state" / "sampling.key"
    assert path.read_bytes() == first.pipeline.facts.sampling_key
    assert len(first.pipeline.facts.sampling_key) == generated_secret.KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert receiver.build(conf).pipeline.facts.sampling_key == first.pipeline.facts.sampling_key
    assert [entry.name for entry in path.parent.iterdir()] == ["sampling.key"]


@pytest.mark.parametrize("where", ["file/key", "folder"])
def test_a_key_that_cannot_be_kept_is_a_warning(where, conf, tmp_path, caplog):
    """A full disk or a wrong owner must not keep the filter from starting."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    path = tmp_path / where
    found = receiver.build(with_key(conf, path))
    assert len(found.pipeline.facts.sampling_key) == generated_secret.KEY_BYTES
    assert f"{path}: " in caplog.text
    assert "pct sampling" in caplog.text


def test_a_suffix_list_that_cannot_be_read(conf, tmp_path):
    for name in ("none.dat", "."):
        broken = replace(conf, dmarc=replace(conf.dmarc, psl_file=str(tmp_path / name)))
        with pytest.raises(ConfigError, match=r"^\[dmarc\] psl_file: "):
            receiver.build(broken)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("MX.example.net", "mx.example.net"), ("host", "host"), ("bad name", "localhost"), ("", "localhost")],
)
def test_host_name_is_fit_for_a_header(name, shown, conf, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert receiver.build(conf).pipeline.host_name == shown


def test_only_the_daemon_keeps_a_key_that_it_makes(conf, tmp_path):
    receiver.build(with_key(conf, tmp_path / "key"), keep_key=False)
    assert not (tmp_path / "key").exists()

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load
from dmarcmilter.daemon import supervisor
from dmarcmilter.demo import show
from dmarcmilter.demo.sample_messages import samples

# title: SPF, DKIM, ARC, DMARC, disposition, action, first override.
EXPECTED = {
    "signed by its author": ("fail", "pass", "none", "pass", "none", "accept", None),
    "from its author's server": ("pass", "", "none", "pass", "none", "accept", None),
    "forged, p=reject": ("fail", "", "none", "fail", "reject", "reject", None),
    "forged, subdomain that exists: sp": ("fail", "", "none", "fail", "quarantine", "quarantine", None),
    "forged, subdomain that does not: np": ("fail", "", "none", "fail", "reject", "reject", None),
    "forged, p=quarantine": ("fail", "", "none", "fail", "quarantine", "quarantine", None),
    "forged, p=none": ("fail", "", "none", "fail", "none", "accept", None),
    "forged, p=reject; t=y": ("fail", "", "none", "fail", "quarantine", "quarantine", "policy_test_mode"),
    "changed by a list that we trust (ARC)": ("none", "fail", "pass", "fail", "none", "accept", "local_policy"),
    "changed by a list unknown to us": ("fail", "", "none", "fail", "quarantine", "quarantine", "mailing_list"),
    "with a forged Authentication-Results": ("fail", "", "none", "fail", "none", "accept", None),
    "two From fields": ("fail", "", "none", "permerror", "reject", "reject", None),
    "a domain without any policy": ("fail", "", "none", "none", "none", "accept", None),
    "a bounce (null sender)": ("none", "", "none", "none", "none", "accept", None),
}


@pytest.fixture(scope="module")
def demonstration():
    """What show() printed, and the rows and records that it printed from."""
    seen = {}
    printer = show._print

    def remember(rows, records):
        seen["rows"], seen["records"] = rows, records
        printer(rows, records)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(show, "_print", remember)
        show.show()
    return seen


def test_every_sample_is_expected():
    assert [sample.title for sample in samples()] == list(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_verdict_is_as_the_title_says(title, demonstration):
    sample, queue_id, answer = next(row for row in demonstration["rows"] if row[0].title == title)
    record = demonstration["records"][queue_id]
    found = (
        record.spf.result,
        ", ".join(signature.result for signature in record.dkim),
        record.arc.result,
        record.dmarc.result,
        record.disposition,
        record.action,
        record.overrides[0].type if record.overrides else None,
    )
    assert found == EXPECTED[title]
    refused = record.action == "reject"
    assert answer.startswith("550 " if refused else "250 ")
    assert not refused or "DMARC" in answer
    assert sample.message


def test_subdomains_meet_the_tag_of_their_title(demonstration):
    tags = {sample.title: demonstration["records"][queue_id].dmarc.tag for sample, queue_id, _ in demonstration["rows"]}
    assert tags["forged, subdomain that exists: sp"] == "sp"
    assert tags["forged, subdomain that does not: np"] == "np"
    assert tags["forged, p=reject"] == "p"


def test_every_sample_has_a_line_in_the_table(demonstration, capsys):
    show._print(demonstration["rows"], demonstration["records"])
    printed = capsys.readouterr().out
    assert 'What the filter does with mode = "enforce"' in printed
    assert {record.mode for record in demonstration["records"].values()} == {"enforce"}
    assert all(title.split()[0] in printed for title in EXPECTED)


def test_what_stays_begins_in_monitor_and_says_so(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(show, "show", lambda: None)
    monkeypatch.setattr(supervisor, "serve", lambda path: served.append(path) or 0)
    arguments = ["demo", "--stay", "--state", str(tmp_path / "state")]
    printed = CliRunner().invoke(main, arguments, catch_exceptions=False).stdout
    conf = tmp_path / "state" / "dmarcmilter.toml"
    assert served == [str(conf)]
    assert load.read(str(conf)).warnings == ()
    assert load.load(str(conf)).policy.mode == "monitor"
    assert "Mode in force: monitor (no policy is enforced); [policy] mode in that file changes it.\n" in printed
    conf.write_text(conf.read_text().replace('"monitor"\n', '"enforce"\n'))
    assert "Mode in force: enforce; " in CliRunner().invoke(main, arguments, catch_exceptions=False).stdout


def test_a_filter_that_does_not_start_is_an_error(tmp_path):
    conf = tmp_path / "wrong.toml"
    conf.write_text("[polcy]\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="does not start"), show.running(conf, tmp_path / "none.sock"):
        pass


def test_demonstration_ends_with_the_mode_of_a_new_installation_and_how_to_enforce():
    end = CliRunner().invoke(main, ["demo"], catch_exceptions=False)
    assert end.exit_code == 0
    assert f'A new installation is in mode "{load.Config().policy.mode}"' in end.output
    assert 'mode = "enforce" below [policy]' in end.output

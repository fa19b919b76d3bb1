"""`dmarcmilter check --second-opinion`, with the DNS of a server as for any other command."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.testing.name_server import NameServer

ZONE = {
    "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
    "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.my-bank.example": {"TXT": ["v=DMARC1; p=reject"]},
}
ENVELOPE = ("--ip", "192.0.2.1", "--helo", "mail.bank.example", "--mail-from", "news@bank.example")


def message(author):
    return f"From: {author}\r\nTo: b@example.net\r\nDate: x\r\n\r\nHello.\r\n".encode()


@pytest.fixture(scope="module")
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def arguments(tmp_path, server):
    conf = tmp_path / "conf.toml"
    conf.write_text(
        f'[identity]\nauthserv_id = "mx.example.net"\n[dns]\nnameservers = ["127.0.0.1:{server.port}"]\ntimeout = 2.0\n'
        f'[policy]\nmode = "enforce"\nsampling_key = "{tmp_path}/key"\n'
    )

    def make(content, *options):
        path = tmp_path / "message"
        path.write_bytes(content)
        return ["check", "--config", str(conf), *ENVELOPE, *options, str(path)]

    return make


@pytest.fixture
def check(arguments):
    return lambda content, *options: CliRunner().invoke(main, arguments(content, *options), catch_exceptions=False)


def test_lines_below_the_explanation(check):
    plain = check(message("a@bank.example"))
    result = check(message("a@bank.example"), "--second-opinion")
    assert (plain.exit_code, result.exit_code) == (0, 0)
    assert result.stdout.endswith(
        "\nSecond opinion\n"
        "  same: SPF: ours pass, pyspf pass\n"
        "  same: ARC: ours none, dkimpy none\n"
        "  same: DMARC: ours pass, authheaders pass\n"
    )
    assert "Second opinion" not in plain.stdout


def test_another_opinion_changes_neither_the_result_nor_the_exit_status(check):
    result = check(message("a@my-bank.example"), "--second-opinion")
    assert result.exit_code == 1
    assert result.stdout.endswith(
        "  different: DMARC: ours fail, authheaders none. "
        "authheaders reads a domain in From up to the first character that is not a letter, digit or dot.\n"
    )


def test_json(check):
    record = json.loads(check(message("a@my-bank.example"), "--second-opinion", "--json").stdout)
    assert record["dmarc"]["result"] == "fail"
    spf, _, dmarc = record["second_opinion"]
    assert spf == {"what": "SPF", "by": "pyspf", "ours": "pass", "theirs": "pass", "same": True, "cause": ""}
    assert (dmarc["what"], dmarc["by"], dmarc["ours"], dmarc["theirs"], dmarc["same"]) == (
        *("DMARC", "authheaders", "fail", "none", False),
    )
    assert dmarc["cause"].startswith("authheaders reads")
    assert "second_opinion" not in json.loads(check(message("a@my-bank.example"), "--json").stdout)


def test_each_message_of_an_mbox_file_has_its_own(check):
    content = (
        b"From a@bank.example Thu Jan  1 00:00:00 2026\n" + message("a@bank.example").replace(b"\r\n", b"\n") + b"\n"
    )
    lines = check(content * 2, "--second-opinion", "--json").stdout.splitlines()
    assert [len(json.loads(line)["second_opinion"]) for line in lines] == [3, 3]


def test_the_libraries_ask_the_servers_of_the_configuration_and_few_names(check, server):
    server.load(ZONE)
    check(message("a@bank.example"))
    before = set(server.queries)
    server.load(ZONE)
    check(message("a@bank.example"), "--second-opinion")
    # TTLs are 0, so what both need is asked again. authheaders and pyspf look at no other name than we do.
    assert {name for name, _, _ in server.queries} == {name for name, _, _ in before}


@pytest.mark.parametrize("options", [(), ("--second-opinion",)], ids=["without", "with"])
def test_the_library_is_loaded_only_where_it_is_asked_for(arguments, options):
    code = (
        "import sys\nfrom dmarcmilter.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print([name for name in ('authheaders', 'dmarcmilter.second_opinion') if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments(message("a@bank.example"), *options)],
        capture_output=True,
        text=True,
        check=False,
    )
    expected = ["authheaders", "dmarcmilter.second_opinion"] if options else []
    assert run.stdout.splitlines()[-1] == str(expected), run.stderr

"""OpenDMARC's history into the store: what its numbers mean, each record once, and files that are odd or hostile.

cases/opendmarc_history.txt was written by OpenDMARC 1.4.2 (Debian 12) for nine messages of a test.
"""

import json
from datetime import UTC, date, datetime

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.cli import main
from dmarcmilter.explain.explanation import explain
from dmarcmilter.history import migrations, outcome_rows
from dmarcmilter.history.outcome_writer import Writer
from dmarcmilter.history.store import Store
from dmarcmilter.opendmarc import history_file, history_record
from dmarcmilter.opendmarc.history_import import Import, NoHistoryError
from dmarcmilter.outcome_record import encoded
from dmarcmilter.reports.aggregate.day_outcomes import day_view
from tests.support import databases, journals
from tests.support.paths import CASES

REAL = CASES / "opendmarc_history.txt"
FIRST = """job 4T1
reporter mx.example.net
received 1800000000
ipaddr 192.0.2.1
from example.com
mfrom bounce.example.com
dkim example.com s1 0
spf 0
pdomain example.com
policy 15
rua mailto:a@example.com
pct 100
adkim 114
aspf 114
p 114
sp 0
align_dkim 4
align_spf 4
arc 7
arc_policy 2 json:[]
action 2
"""


def record(number=1, **changes):
    """One record; a value of None leaves the line out."""
    lines = []
    for line in FIRST.replace("4T1", f"4T{number}").splitlines():
        key = line.partition(" ")[0]
        value = changes.get(key, line.partition(" ")[2])
        lines += [f"{key} {value}"] if value is not None else []
    return "\n".join(lines) + "\n"


def as_values(made):
    """The record as plain JSON values."""
    return json.loads(encoded(made))


def fields_of(text):
    fields = history_file._fields(text.encode())
    assert fields is not None
    return fields


def outcome(**changes):
    return as_values(history_record.outcome(fields_of(record(**changes))))


def real():
    (piece,) = [history_file.read(REAL, 0)]
    return [as_values(history_record.outcome(fields)) for fields in piece.records]


def test_what_opendmarc_wrote():
    found = real()
    told = [
        (one["author_domain"], one["spf"]["result"], one["dmarc"]["result"], one["action"], one["arc"]["result"])
        for one in found
    ]
    assert told == [
        ("example.com", "pass", "pass", "accept", "none"),
        ("example.com", "fail", "fail", "reject", "none"),
        ("example.com", "pass", "fail", "reject", "none"),
        ("sub.quar.example", "softfail", "none", "accept", "none"),
        ("none.example", "neutral", "fail", "accept", "none"),
        ("norecord.example", "none", "none", "accept", "none"),
        ("none.example", "none", "fail", "accept", "none"),
        ("none.example", "permerror", "fail", "accept", "none"),
        ("none.example", "none", "fail", "accept", "pass"),
    ]
    assert [sealer["domain"] for sealer in found[8]["arc"]["sealers"]] == ["list.example"]
    assert found[2]["dkim"][1] | {"reason": ""} == {
        "result": "temperror", "domain": "other.example", "selector": "s2", "algorithm": None, "reason": "",
        "testing": False,
    }  # fmt: skip
    assert found[0]["policy"]["record"] == (
        "v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@example.com,mailto:b@example.org; adkim=s; pct=50"
    )
    assert found[0]["dmarc"]["aligned"] == [{"mechanism": "dkim", "domain": "example.com", "mode": "s"}]
    assert found[3]["policy"] is None
    assert found[6]["mail_from_domain"] is None
    assert found[6]["spf"]["scope"] == "helo"


def test_the_shape_is_that_of_an_older_outcome_object():
    """All that it has, ours has too, but where it comes from."""
    ours = journals.record()
    found = outcome()
    assert set(found) - {"imported"} <= set(ours)
    for key in ("spf", "arc", "dmarc", "policy", "dns"):
        assert set(found[key]) <= set(ours[key]) | {"record", "notes_codes"}
    explain(outcome_rows.parse(json.dumps(found).encode()).record)


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({"policy": "16", "action": "0"}, ("disposition",), "reject"),
        ({"policy": "16", "action": "0"}, ("dmarc", "requested"), "reject"),
        ({"policy": "16", "action": "1"}, ("action",), "reject"),
        ({"policy": "17", "action": "4"}, ("action",), "quarantine"),
        ({"policy": "18", "action": "2"}, ("dmarc", "requested"), "none"),
        ({"action": "3"}, ("action",), "tempfail"),
        ({"policy": "14", "p": "0"}, ("dmarc", "result"), "none"),
        ({"policy": "14", "p": "0"}, ("policy",), None),
        ({"from": "a.example.com", "sp": "110"}, ("dmarc", "tag"), "sp"),
        ({"from": "a.example.com", "sp": "110"}, ("dmarc", "published"), "none"),
        ({"from": "a.example.com", "sp": "110"}, ("policy", "organizational_domain"), "example.com"),
        ({"from": "a.example.com"}, ("dmarc", "tag"), "p"),
        ({"from": "EXAMPLE.com"}, ("author_domain",), "example.com"),
        ({"aspf": "115"}, ("policy", "aspf"), "s"),
        ({"aspf": "0"}, ("policy", "aspf"), "r"),
        ({"pct": "50"}, ("policy", "pct"), 50),
        ({"pct": "5000"}, ("policy", "pct"), None),
        ({"spf": "-1"}, ("spf", "result"), "none"),
        ({"spf": "2"}, ("spf", "result"), "softfail"),
        ({"spf": "x"}, ("spf", "result"), "none"),
        ({"mfrom": ""}, ("mail_from_domain",), None),
        ({"ipaddr": "2001:DB8::1"}, ("client_ip",), "2001:db8::1"),
        ({"ipaddr": "unknown"}, ("client_ip",), None),
        ({"rua": "-"}, ("imported", "rua"), []),
        ({}, ("imported", "rua"), ["mailto:a@example.com"]),
        ({}, ("policy", "rua"), []),
        ({"dkim": "example.com - 0"}, ("dkim", 0, "selector"), None),
        ({"dkim": "example.com s 99"}, ("dkim", 0, "result"), "none"),
        ({"dkim": "not..a..domain s 7"}, ("dkim", 0, "domain"), None),
        ({"dkim": "x"}, ("dkim", 0, "result"), "none"),
        ({"arc": "0", "arc_policy": '0 json:[{"i":1,"d":"a.example","s":"x"},{"i":2,"d":"b.example"}]'},
         ("arc", "sealers", 0, "domain"), "b.example"),
        ({"arc": "7", "arc_policy": '0 json:[{"i":1,"d":"a.example"}]'}, ("arc", "result"), "fail"),
        ({"arc_policy": "0 json:{"}, ("arc", "sealers"), []),
        ({"arc_policy": '0 json:{"d":1}'}, ("arc", "sealers"), []),
        ({"arc_policy": "0 json:[[[1]], 5]"}, ("arc", "sealers"), []),
        ({"arc_policy": "0 json:" + "[" * 9000}, ("arc", "sealers"), []),
        ({"job": "x\x07y"}, ("queue_id",), "x?y"),
    ],
)  # fmt: skip
def test_values(changes, path, expected):
    found = outcome(**changes)
    for key in path:
        found = found[key]
    assert found == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"from": None},
        {"from": "no domain"},
        {"received": None},
        {"received": str(2**32)},
        {"received": "-5"},
        {"action": "9"},
        {"action": None},
        {"policy": "3"},
        {"policy": None},
    ],
)
def test_records_without_what_an_outcome_needs(changes):
    with pytest.raises(history_record.UnreadableError):
        outcome(**changes)


def taken(path, store):
    return Import(path, Writer(store)).run()


def count(store):
    return databases.ask(store, "SELECT count(*) FROM outcomes")[0][0]


@pytest.fixture
def lite(tmp_path):
    """One kind of database is enough for what is not about databases."""
    opened = Store(f"sqlite:///{tmp_path}/lite.db")
    migrations.migrate(opened)
    yield opened
    opened.close()


def test_each_record_once(store, tmp_path):
    path = tmp_path / "opendmarc.dat"
    path.write_bytes(REAL.read_bytes())
    assert taken(path, store).outcomes == 9
    again = taken(path, store)
    assert (again.outcomes, again.skipped) == (0, path.stat().st_size)
    moved = path.rename(tmp_path / "moved.dat")
    with moved.open("a", encoding="ascii") as file:
        file.write(record(7) + record(8).partition("policy")[0])
    grown = taken(moved, store)
    assert (grown.outcomes, grown.unreadable) == (1, 0)
    assert grown.rest == len(record(8).partition("policy")[0])
    with moved.open("a", encoding="ascii") as file:
        file.write("policy" + record(8).partition("policy")[2])
    assert taken(moved, store).outcomes == 1
    assert count(store) == 11


def test_another_file_of_the_same_name_is_another_file(lite, tmp_path):
    path = tmp_path / "opendmarc.dat"
    for number in (1, 2):
        path.write_text(record(number), encoding="ascii")
        assert taken(path, lite).outcomes == 1
    assert count(lite) == 2


def test_what_is_stored_comes_back(lite, tmp_path):
    path = tmp_path / "h"
    path.write_text(record(), encoding="ascii")
    taken(path, lite)
    (row,) = databases.ask(
        lite,
        "SELECT o.day, o.queue_id, c.ip, c.helo, v.author_domain, v.dmarc_result, p.record FROM outcomes o "
        "JOIN verdicts v ON v.id = o.verdict_id JOIN clients c ON c.id = o.client_id "
        "JOIN policies p ON p.id = v.policy_id",
    )
    expected = "v=DMARC1; p=reject; rua=mailto:a@example.com"
    assert row == (20270115, "4T1", "192.0.2.1", None, "example.com", "pass", expected)


def test_imported_outcomes_are_never_reported(lite, tmp_path):
    path = tmp_path / "h"
    path.write_text(record(), encoding="ascii")
    taken(path, lite)
    day = datetime.fromtimestamp(1800000000, UTC).date()
    assert day == date(2027, 1, 15)
    with day_view(lite, day) as view:
        assert view.domains() == []


def test_what_cannot_be_read_is_counted_and_keeps_out_nothing_else(lite, tmp_path, caplog):
    path = tmp_path / "h"
    bad = [record(1, action="9"), record(2), "job " + "x" * history_file.MAX_RECORD + "\n", record(3)]
    bad += ["job 4\n" + "dkim a b 0\n" * history_file.MAX_LINES + "action 2\n", record(5)]
    path.write_text("some\nnoise\n" + "".join(bad), encoding="ascii")
    counts = taken(path, lite)
    assert (counts.outcomes, counts.unreadable, counts.rest) == (3, 4, 0)
    assert "job 4T1 not read: action 9" in caplog.text
    assert databases.ask(lite, "SELECT outcomes, unreadable FROM journal_files") == [(3, 4)]


def test_complaints_are_bounded(lite, tmp_path, caplog):
    path = tmp_path / "h"
    path.write_text(record(99) + "".join(record(n, action="9") for n in range(50)), encoding="ascii")
    assert taken(path, lite).unreadable == 50
    assert len(caplog.records) == 20


def test_pieces(tmp_path, monkeypatch, lite):
    """A file larger than what is read at once; a stretch of it that is no record at all."""
    monkeypatch.setattr(history_file, "CHUNK", 2000)
    path = tmp_path / "h"
    path.write_text("".join(map(record, range(40))) + "x" * 5000 + "\n" + record(41), encoding="ascii")
    counts = taken(path, lite)
    # The last before the stretch swallows what follows it, up to the next `job`.
    assert (counts.outcomes, counts.rest) == (40, 0)
    assert counts.unreadable >= 1


@pytest.mark.parametrize("raw", [b"", b"jo", b"job", b"job 1\n"])
def test_files_without_a_whole_record(raw, tmp_path, lite):
    path = tmp_path / "h"
    path.write_bytes(raw)
    counts = taken(path, lite)
    assert (counts.outcomes, counts.unreadable, counts.rest) == (0, 0, len(raw))


NO_HISTORY = {
    "text": b"nonsense\n" * 3000,
    "blank": b"\n\n",
    "journal": b'{"v":1,"queue_id":"job 1"}\n',
    "binary": bytes(range(256)) * 600,
    "conf": b"Socket local:/x\nHistoryFile /y\n",
    "records of something else": b"job 1\nname a\njob 2\nname b\naction x\n",
}


@pytest.mark.parametrize("raw", NO_HISTORY.values(), ids=NO_HISTORY)
@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["import", "dry run"])
def test_what_is_no_history_file_is_refused(raw, options, tmp_path):
    """Each time again: nothing of it is remembered."""
    conf, file = tmp_path / "c.toml", tmp_path / "file"
    conf.write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/h.db"\n')
    file.write_bytes(raw)
    for _ in range(2):
        refused = run("--config", str(conf), *options, str(file))
        assert refused.exit_code == 1
        assert f"{file}: no history file of OpenDMARC" in refused.stderr
        assert not refused.stdout
    file.write_bytes(REAL.read_bytes())
    assert run("--config", str(conf), *options, str(file)).stdout.startswith("9 outcomes")


LINES = st.lists(
    st.one_of(
        st.sampled_from([line.encode() for line in FIRST.splitlines()]),
        st.binary(max_size=30),
        st.sampled_from([b"job 1", b"job ", b"action 2", b"", b"received 9" + b"9" * 30, b"arc_policy 0 json:[1,{}]"]),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("history") / "h"


@settings(max_examples=200, deadline=None)
@given(lines=LINES, end=st.sampled_from([b"\n", b""]))
def test_any_file(scratch, lines, end):
    scratch.write_bytes(b"\n".join(lines) + end)
    try:
        counts = Import(scratch, None).run()
    except NoHistoryError:
        return
    assert counts.outcomes >= 0
    assert 0 <= counts.rest <= scratch.stat().st_size


def run(*arguments):
    return CliRunner().invoke(main, ["history", "import-opendmarc", *arguments], catch_exceptions=False)


def test_command(tmp_path):
    database = tmp_path / "h.db"
    conf = tmp_path / "c.toml"
    conf.write_text(f'[history]\ndatabase = "sqlite:///{database}"\n')
    dry = run("--config", str(conf), "--dry-run", str(REAL))
    assert (dry.exit_code, dry.stdout) == (0, "9 outcomes would be taken in, 0 not readable\n")
    assert not database.exists()
    assert run("--config", str(conf), str(REAL)).stdout.startswith("9 outcomes taken in")
    assert "0 outcomes taken in" in run("--config", str(conf), str(REAL)).stdout
    again = run("--config", str(conf), "-n", str(REAL))
    assert "0 outcomes would be taken in" in again.stdout
    store = Store(f"sqlite:///{database}")
    assert count(store) == 9
    store.close()
    assert run("--config", str(conf), str(tmp_path / "none")).exit_code == 2
    assert run("--config", str(conf), str(tmp_path)).exit_code == 2
    conf.write_text('[history]\ndatabase = "sqlite:////nowhere/at/all.db"\n')
    assert run("--config", str(conf), str(REAL)).exit_code == 2

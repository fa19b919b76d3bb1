from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.reports.aggregate.grouping import MAX_ROW_BYTES, Grouping, period, report_id
from dmarcmilter.reports.aggregate.xml_report import ReportedDisposition
from dmarcmilter.value import replace
from tests.support.report_outcomes import BEGIN, END, grouped, outcome, passed


def test_one_report_for_each_policy_domain():
    # AGG-02
    own = {"domain": "bar.example.com"}
    groups = grouped([
        outcome(),
        outcome(author_domain="foo.example.com"),
        outcome(author_domain="bar.example.com", policy=own),
    ])  # fmt: skip
    assert [group.configuration.policy.domain for group in groups] == ["bar.example.com", "example.com"]
    assert [sorted(row.header_from for row in group.rows) for group in groups] == [
        ["bar.example.com"],
        ["example.com", "foo.example.com"],
    ]


def test_the_final_configuration_is_the_one_that_is_told():
    # AGG-25
    """RFC 9990 3.1: a record that changes makes one report, or each message could be a report of its own."""
    (group,) = grouped([
        outcome(),
        outcome(time="2027-01-16T23:00:00.000Z", policy={"p": "none", "rua": ["mailto:last@example.com"]}),
        outcome(policy={"record": "v=DMARC1;p=reject;rua=mailto:dmarc@example.com"}),
        outcome(policy={"p": "quarantine"}),
        outcome(policy={"rua": ["mailto:other@example.com"]}),
        outcome(policy={"discovery": "psl"}),
    ])  # fmt: skip
    assert group.messages == 6
    assert group.configuration.policy.p == "none"
    assert group.configuration.rua == ("mailto:last@example.com",)


def test_rows_are_counted():
    # AGG-37
    (group,) = grouped([outcome(), outcome(), outcome(client_ip="192.0.2.2"), passed()])
    assert [(row.source_ip, row.count, row.disposition) for row in group.rows] == [
        ("192.0.2.1", 2, ReportedDisposition.REJECT),
        ("192.0.2.1", 1, ReportedDisposition.PASS),
        ("192.0.2.2", 1, ReportedDisposition.REJECT),
    ]
    assert (group.messages, group.passed) == (4, 1)


def test_mail_without_a_client_address_is_not_counted():
    assert not grouped([outcome(client_ip=None)])


def test_words_about_a_result_make_no_row_of_its_own():
    signature = {"result": "fail", "domain": "example.com", "selector": "s"}
    (group,) = grouped([
        outcome(dkim=[signature | {"reason": "body hash mismatch"}]),
        outcome(dkim=[signature | {"reason": "signature mismatch"}]),
    ])  # fmt: skip
    (row,) = group.rows
    assert (row.count, row.dkim_results[0].human_result) == (2, "body hash mismatch")


def test_too_many_rows_are_left_out_and_told():
    grouping = Grouping(max_rows=3)
    for number in range(10):
        grouping.add(outcome(client_ip=f"192.0.2.{number}"))
    grouping.add(outcome(client_ip="192.0.2.1"), 5)
    (group,) = grouping.groups()
    assert len(group.rows) == 3
    assert group.messages == 15
    assert group.notes[0].startswith("7 messages")


@given(st.permutations(range(8)))
@settings(max_examples=30, deadline=None)
def test_order_of_arrival_does_not_matter(order):
    found = [outcome(client_ip=f"192.0.2.{n % 3}", mail_from_domain=f"m{n % 2}.example") for n in range(8)]
    assert grouped([found[n] for n in order]) == grouped(found)


def test_period_is_the_utc_day():
    # AGG-24
    assert period(date(2027, 1, 16)) == (BEGIN, END)
    assert period(date(2027, 1, 17))[0] == END + 1


def test_report_ids():
    """The same for the same, another for all else."""
    ids = [
        report_id("mx.example", "example.com", BEGIN, 0),
        report_id("mx.example", "example.com", BEGIN, 1),
        report_id("mx.example", "example.com", BEGIN + 86400, 0),
        report_id("my.example", "example.com", BEGIN, 0),
        report_id("mx.example", "example.net", BEGIN, 0),
    ]
    assert len(set(ids)) == 5
    assert report_id("mx.example", "example.com", BEGIN, 0) == ids[0]
    assert all(found.isalnum() for found in ids)


def signatures(number, *, message=0):
    """DKIM results that nobody else has, as a sender can make them up."""
    return [
        {
            "result": "fail",
            "domain": f"{message}.{n}.{'d' * 60}.{'e' * 60}.example",
            "selector": "s" * 60,
            "reason": "x",
        }
        for n in range(number)
    ]


def test_rows_are_bounded_in_bytes():
    """Beyond half of the bytes rows have one DKIM result; what does not fit at all is told as a number."""
    grouping = Grouping(max_bytes=100_000)
    for number in range(300):
        grouping.add(outcome(client_ip=f"192.0.2.{number % 256}", dkim=signatures(20, message=number)))
    (group,) = grouping.groups()
    assert 50_000 < sum(len(repr(row)) for row in group.rows) < 130_000
    brief = [row for row in group.rows if len(row.dkim_results) == 1]
    assert len(brief) > 20
    assert group.messages == 300
    listed = sum(row.count for row in group.rows)
    assert group.notes[0].startswith(f"{300 - listed} messages with further")
    assert group.notes[1].startswith(f"{len(brief)} messages are listed without all")


def test_mail_that_passed_is_not_pushed_out():
    """Anyone can send what fails, in any number of ways, before the owner's own mail comes."""
    for limits in ({"max_rows": 20}, {"max_bytes": 20_000}):
        grouping = Grouping(**limits)
        for number in range(300):
            grouping.add(outcome(client_ip=f"198.51.100.{number % 256}", dkim=signatures(2, message=number)))
        for number in range(10):
            grouping.add(passed(client_ip=f"192.0.2.{number}"))
        (group,) = grouping.groups()
        own = [row for row in group.rows if row.dkim == "pass"]
        assert sum(row.count for row in own) == 10
        assert len(group.rows) > 10
        left_out = group.messages - sum(row.count for row in group.rows)
        assert group.notes[0].startswith(f"{left_out} messages with further")


def test_one_row_is_bounded():
    (group,) = grouped([outcome(dkim=signatures(400))])
    (row,) = group.rows
    assert len(repr(replace(row, source_ip="", count=0))) <= MAX_ROW_BYTES
    assert 10 < len(row.dkim_results) < 100


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 25), st.booleans()), max_size=40),
    st.integers(1, 30),
    st.integers(200, 20_000),
)
@settings(max_examples=60, deadline=None)
def test_no_message_is_lost(found, max_rows, max_bytes):
    """Each is in a row or in the number of those that are not listed; the bounds hold."""
    grouping = Grouping(max_rows, max_bytes)
    for address, message, number, is_pass in found:
        made = passed if is_pass else outcome
        grouping.add(made(client_ip=f"192.0.2.{address}", mail_from_domain=f"m{message}.example",
                          **({} if is_pass else {"dkim": signatures(number, message=message)})))  # fmt: skip
    for group in grouping.groups():
        listed = sum(row.count for row in group.rows)
        left_out = [int(note.split()[0]) for note in group.notes if "are not listed" in note]
        assert listed + sum(left_out) == group.messages == len(found)
        assert len(group.rows) <= max_rows
        different = {repr(replace(row, source_ip="", count=0)) for row in group.rows}
        assert sum(map(len, different)) <= max_bytes

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st
from reporting import BEGIN, END, outcome, passed

from dmarcmilter.reports.aggregate import Disposition
from dmarcmilter.reports.grouping import Grouping, grouped, period, report_id


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


def test_one_report_for_each_configuration():
    # AGG-25
    """A change of the policy or of its addresses makes another; a record that is only spelled anew does not."""
    groups = grouped([
        outcome(),
        outcome(policy={"record": "v=DMARC1;p=reject;rua=mailto:dmarc@example.com"}),
        outcome(policy={"p": "none"}),
        outcome(policy={"rua": ["mailto:other@example.com"]}),
        outcome(policy={"discovery": "psl"}),
    ])  # fmt: skip
    assert sorted(group.messages for group in groups) == [1, 1, 1, 2]


def test_rows_are_counted():
    # AGG-37
    (group,) = grouped([outcome(), outcome(), outcome(client_ip="192.0.2.2"), passed()])
    assert [(row.source_ip, row.count, row.disposition) for row in group.rows] == [
        ("192.0.2.1", 2, Disposition.REJECT),
        ("192.0.2.1", 1, Disposition.PASS),
        ("192.0.2.2", 1, Disposition.REJECT),
    ]
    assert (group.messages, group.passed) == (4, 1)


def test_mail_without_a_client_address_is_not_counted():
    assert not grouped([outcome(client_ip=None)])


def test_words_about_a_result_make_no_row_of_its_own():
    signature = {"result": "fail", "domain": "example.com", "selector": "s"}
    (group,) = grouped([
        outcome(dkim=[signature | {"reason": "one"}]),
        outcome(dkim=[signature | {"reason": "two"}]),
    ])  # fmt: skip
    (row,) = group.rows
    assert (row.count, row.dkim_results[0].human_result) == (2, "one")


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
    (first,) = grouped([outcome()])
    (second,) = grouped([outcome(policy={"p": "none"})])
    ids = [
        report_id("mx.example", first.configuration, BEGIN, 0),
        report_id("mx.example", first.configuration, BEGIN, 1),
        report_id("mx.example", first.configuration, BEGIN + 86400, 0),
        report_id("my.example", first.configuration, BEGIN, 0),
        report_id("mx.example", second.configuration, BEGIN, 0),
    ]
    assert len(set(ids)) == 5
    assert report_id("mx.example", grouped([outcome()])[0].configuration, BEGIN, 0) == ids[0]
    assert all(found.isalnum() for found in ids)

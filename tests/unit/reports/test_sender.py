"""The sender of reports, where the conf leaves its names open."""

from dmarcmilter.config.schema import Config
from dmarcmilter.reports.sender import sender_of, submitter_of
from dmarcmilter.value import replace

SETTINGS = replace(Config().reports, email="dmarc@mx.example")


def test_the_domain_of_the_address_stands_in():
    assert submitter_of(SETTINGS) == sender_of(SETTINGS).org_name == "mx.example"


def test_a_submitter_stands_in_for_the_name():
    assert sender_of(replace(SETTINGS, submitter="receiver.example")).org_name == "receiver.example"


def test_what_is_written_is_used():
    settings = replace(SETTINGS, submitter="receiver.example", org_name="Example")
    assert (sender_of(settings).org_name, sender_of(settings).email) == ("Example", "dmarc@mx.example")
    assert submitter_of(settings) == "receiver.example"

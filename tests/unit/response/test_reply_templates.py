"""What holds for every reply. (Rows: [[reply]] of tests/cases/actions.toml, in test_plan.py.)"""

from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.config.text_validation import MAX_TEXT
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.response.reply_templates import MAX_REPLY, ReplyTexts, reply
from tests.support import outcomes

LABELS = st.text(st.sampled_from("ab-"), min_size=1, max_size=63)
LONG = Domain(".".join(["a" * 63] * 3 + ["b" * 59, "c"]))
PAGE = "https://help.example/why?m={queue_id}&d={domain}"


def outcome(domain=LONG, queue_id="4ABC", reason="no aligned identifier passed"):
    from dmarcmilter.value import replace

    found = outcomes.outcome(mail=outcomes.message(queue_id=queue_id))
    policy = found.evaluation.author_policy
    policy = replace(policy, author=replace(policy.author, domain=domain))
    return replace(found, evaluation=replace(found.evaluation, author_policy=policy, reason=recognized(reason)))


def texts(reject, info_url=""):
    return ReplyTexts(reject, reject, reject, info_url)


def test_the_longest_domain_name_cuts_itself_and_not_the_page():
    page = "https://help.example/" + "p" * 250
    text = reply(outcome(), texts("DMARC refuses {domain} in {queue_id}: {reason}", page)).text
    assert text.endswith(f"...in 4ABC: ...; see {page}".replace("...in", "... in"))
    assert len(text) <= MAX_REPLY


def test_the_reason_goes_before_the_domain():
    text = reply(outcome(reason="r" * 400), texts("DMARC {reason} {domain}")).text
    assert LONG in text
    assert "r..." in text


def test_a_page_that_has_no_room_is_left_out_whole():
    text = reply(outcome(), texts("t" * MAX_TEXT, PAGE)).text
    assert text == "t" * MAX_TEXT


def test_what_is_put_into_the_page_is_escaped():
    text = reply(outcome(Domain("a.example"), queue_id="4&d=x/../%é "), texts("DMARC", PAGE)).text
    assert text == "DMARC; see https://help.example/why?m=4%26d%3Dx%2F..%2F%25%3F%20&d=a.example"


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=MAX_TEXT),
    st.sampled_from(["", PAGE, "https://a.example/{policy_domain}"]),
    st.lists(LABELS, max_size=6),
    st.text(max_size=200),
    st.text(max_size=600),
)
@settings(max_examples=300, deadline=None)
def test_the_page_is_there_whole_or_not_at_all(template, page, labels, queue_id, reason):
    found = outcome(Domain(".".join(labels)[:253]), queue_id, reason)
    text = reply(found, texts(template + "{domain}{reason}", page)).text
    assert text.isascii()
    assert not text or text.isprintable()
    assert len(text) <= MAX_REPLY
    if page and "; see https://" in text and "{" not in template:
        start = text.rindex("https://")
        assert "..." not in text[start:] or "..." in queue_id
        assert text[start:].endswith(("=" + ".".join(labels)[:253], "/example.com")) or labels == []

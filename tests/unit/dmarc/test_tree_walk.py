import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc import tree_walk
from dmarcmilter.dmarc.discovery import Method, discover
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record_lookup import PREFIX
from dmarcmilter.mail.domain import Domain, is_within
from tests.support.zone import Zone

SUFFIXES = Suffixes.of_text("com\nuk\nco.uk\nexample\n")


def find(author, zone):
    return discover(Domain(author), zone, method=Method.TREEWALK, suffixes=SUFFIXES)


@pytest.mark.parametrize(
    ("start", "count", "second"),
    [
        ("com", 1, None),
        ("example.com", 2, "com"),
        ("a.b.c.d.e.example.com", 7, "b.c.d.e.example.com"),
        ("a.b.c.d.e.f.example.com", 8, "b.c.d.e.f.example.com"),
        ("a.b.c.d.e.f.g.example.com", 8, "c.d.e.f.g.example.com"),
        (".".join("x" * 120) + ".com", 8, ".".join("x" * 6) + ".com"),
    ],
)
def test_targets(start, count, second):
    # RFC 9989 4.10 steps 3, 4, 7
    names = tree_walk.targets(Domain(start))
    assert (len(names), names[0]) == (count, start)
    assert second is None or (names[1] == second and names[-1] == "com")


def test_highest_organizational_domain():
    assert tree_walk.highest_organizational_domain(Domain("a.b.co.uk"), SUFFIXES) == "b.co.uk"
    assert tree_walk.highest_organizational_domain(Domain("co.uk"), SUFFIXES) == "co.uk"
    assert tree_walk.highest_organizational_domain(Domain("a.b.unlisted"), SUFFIXES) == "b.unlisted"


LABELS = st.sampled_from(["a", "b", "co", "uk", "com", "example", "x" * 63, "_dmarc"])
DOMAINS = st.lists(LABELS, min_size=1, max_size=40).map(lambda parts: Domain(".".join(parts)))
RECORDS = st.sampled_from(
    ["v=DMARC1; p=reject", "v=DMARC1; p=none; psd=y", "v=DMARC1; p=none; psd=n", "v=DMARC1", "v=spf1 -all", "FAILED"]
)


@st.composite
def zones(draw, domain):
    """Records at some of the names above a domain."""
    parts = domain.split(".")
    records, failed = {}, []
    for index in draw(st.sets(st.integers(0, len(parts) - 1), max_size=5)):
        name, text = PREFIX + ".".join(parts[index:]), draw(RECORDS)
        if text == "FAILED":
            failed.append(name)
        else:
            records[name] = text
    return Zone(records, failed)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=250, deadline=None)
def test_walk_is_bounded_and_stays_above_its_start(data):
    author = data.draw(DOMAINS)
    zone = data.draw(zones(author))
    found = find(author, zone)
    assert len(zone.names) <= 8
    assert len(set(zone.names)) == len(zone.names)
    assert all(is_within(author, name.removeprefix(PREFIX)) for name in zone.names)
    own = found.organizational_domain
    assert own is None or is_within(author, own)
    assert own in {None, author} or not SUFFIXES.is_icann_suffix(own)
    assert own is not None or is_within(author, found.highest_possible)
    assert own is not None or found.failed or found.incomplete
    assert bool(found.failed and found.record) is (found.assumed_organization is not None)


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_a_failure_that_is_passed_over_changes_nothing(data):
    # Whatever the failing name really publishes, the Organizational Domain and the record are the same.
    author = data.draw(st.lists(st.sampled_from(["a", "co", "uk", "com"]), min_size=1, max_size=5).map(".".join))
    zone = data.draw(zones(author))
    found = find(author, zone)
    if found.incomplete and found.organizational_domain is not None:
        for text in ("v=DMARC1; p=none", "v=DMARC1; p=none; psd=y", "v=DMARC1; p=none; psd=n", "hello"):
            published = Zone({}, ())
            published.records = dict(zone.records) | {name: {"TXT": (text.encode(),)} for name in zone.failed}
            really = find(author, published)
            assert really.organizational_domain == found.organizational_domain
            assert really.policy_domain == found.policy_domain


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_organizational_domain_is_its_own(data):
    # Why an identifier that equals it needs no walk. The author's walk may have left out its record (RFC 9989 4.10
    # step 4): where that lookup fails, the Organizational Domain is its own whatever the record says.
    author = data.draw(DOMAINS)
    zone = data.draw(zones(author))
    own = find(author, zone).organizational_domain
    if own in {None, author}:
        return
    published = [zone]
    if PREFIX + own in zone.failed:
        records = {name: answers for name, answers in zone.records.items() if name != PREFIX + own}
        texts = ("v=DMARC1; p=none", "v=DMARC1; p=none; psd=y", "v=DMARC1; p=none; psd=n", "hello")
        published = [Zone({}, set(zone.failed) - {PREFIX + own}) for _ in texts]
        for text, another in zip(texts, published, strict=True):
            another.records = records | {PREFIX + own: {"TXT": (text.encode(),)}}
    for each in published:
        assert tree_walk.organizational_domain(tree_walk.walk(own, each), SUFFIXES) == own

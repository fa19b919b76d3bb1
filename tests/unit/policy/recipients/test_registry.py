"""dmarcmilter.policy.recipients.registry: what the choices of all its recipients mean for a message."""

import pytest

from dmarcmilter.policy.recipients.choice import Choice, StoredChoice
from dmarcmilter.policy.recipients.choices_file import ListingFile
from dmarcmilter.policy.recipients.registry import NOBODY_ASKED, RecipientChoices
from dmarcmilter.policy.rules import Exempt
from tests.support.cases import case_table

ROWS = case_table("recipients")["row"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_rows(row, tmp_path):
    path = tmp_path / "file"
    path.write_text("\n".join(row["file"]), encoding="utf-8")
    default = Choice(row.get("default", "enforce"))
    listing = ListingFile(str(path), default)
    found = RecipientChoices(default, listing).exempt(
        [text.encode() for text in row["recipients"]], incomplete=row.get("more", False)
    )
    assert found == row["exempt"]
    assert [number for number, _ in listing._listing.unreadable] == row.get("unreadable", [])


class Database:
    """In the place of Answers: what it says, and what it was asked."""

    def __init__(self, **known):
        self.known = known
        self.asked = []

    def find(self, wanted):
        self.asked += [forms[0] for forms in wanted]
        return [self.known.get(forms[0].partition("@")[0], StoredChoice.NOTHING) for forms in wanted]


def paths(*names):
    return [f"{name}@example.net".encode() for name in names]


def test_where_nothing_is_configured_nobody_is_exempt():
    assert not NOBODY_ASKED.configured
    assert NOBODY_ASKED.exempt(paths("joe"), incomplete=True) is Exempt.NOBODY
    assert RecipientChoices(Choice.EXEMPT).configured
    assert RecipientChoices(Choice.EXEMPT).exempt(paths("joe")) is Exempt.ALL


def test_the_file_comes_before_the_database(tmp_path):
    (tmp_path / "file").write_text("joe@example.net\nann@example.net enforce\n")
    listing = ListingFile(str(tmp_path / "file"), Choice.ENFORCE)
    database = Database(joe=StoredChoice.ENFORCE, bob=StoredChoice.EXEMPT)
    both = RecipientChoices(Choice.ENFORCE, listing, database)
    assert both.exempt(paths("joe")) is Exempt.ALL
    assert both.exempt(paths("joe", "bob")) is Exempt.ALL
    assert both.exempt(paths("ann", "bob")) is Exempt.SOME
    assert both.exempt(paths("ann", "eve")) is Exempt.NOBODY
    # The answer was known without it.
    before = list(database.asked)
    assert both.exempt(paths("joe", "ann", "bob")) is Exempt.SOME
    assert database.asked == before


@pytest.mark.parametrize("default", Choice)
def test_who_is_unknown_is_exempt(default):
    """A message must not be refused because a database is down."""
    found = RecipientChoices(default, None, Database(joe=StoredChoice.UNKNOWN, ann=StoredChoice.ENFORCE))
    assert found.exempt(paths("joe")) is Exempt.ALL
    assert found.exempt(paths("joe", "ann")) is Exempt.SOME

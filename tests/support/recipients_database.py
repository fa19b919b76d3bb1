"""Databases of recipients' choices, for the tests of dmarcmilter.policy.recipients."""

import sqlalchemy as sa

from dmarcmilter.policy.recipients.choice import Choice
from dmarcmilter.policy.recipients.database import Database

QUERY = "SELECT choice FROM people WHERE address = :address"


def execute(url, *statements):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def opened(url, query=QUERY, default=Choice.ENFORCE, **options):
    return Database(url, query, default, **{"timeout": 1.0, "connections": 2} | options)

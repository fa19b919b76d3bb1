"""The URL of a database: shown without its password."""

import pytest

from dmarcmilter.history.database_url import has_open_at_sign, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg://u:***@h/db"),
        ("postgresql+psycopg://u:p@q:r/s?t@h/db", "postgresql+psycopg://u:***@h/db"),
        ("postgresql+psycopg://:p@h", "postgresql+psycopg://:***@h"),
        ("postgresql://h/d?user=u&password=p&sslmode=require", "postgresql://h/d?user=u&password=***&sslmode=require"),
        ("postgresql://h/d?sslPassword=p&keepalives=1", "postgresql://h/d?sslPassword=***&keepalives=1"),
        ("postgresql+psycopg://u@h/db", "postgresql+psycopg://u@h/db"),
        ("sqlite:////var/lib/a:b@c/h.db", "sqlite:////var/lib/a:b@c/h.db"),
        ("", ""),
    ],
)
def test_without_password(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("postgresql+psycopg://u:p@h/db", False),
        ("postgresql+psycopg://u:a@p@h/db", True),
        ("postgresql+psycopg://u:a%40p@h/db", False),
        ("postgresql+psycopg://u:p@h/db?options=a@b", False),
        ("sqlite:////var/lib/a@b@c.db", False),
        ("", False),
    ],
)
def test_at_signs_that_would_make_half_a_password_a_host(url, is_open):
    assert has_open_at_sign(url) is is_open

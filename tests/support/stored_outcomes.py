"""What a store holds: queue ids, and that no row speaks of one that is not there."""

from tests.support import databases


def queue_ids(store):
    return sorted(row[0] for row in databases.ask(store, "SELECT queue_id FROM outcomes"))


def assert_whole(store):
    """No row speaks of one that is not there."""
    for sql in (
        "SELECT count(*) FROM outcomes WHERE verdict_id NOT IN (SELECT id FROM verdicts)",
        "SELECT count(*) FROM outcomes WHERE client_id NOT IN (SELECT id FROM clients)",
        "SELECT count(*) FROM verdicts WHERE policy_id IS NOT NULL AND policy_id NOT IN (SELECT id FROM policies)",
        "SELECT count(*) FROM signatures WHERE verdict_id NOT IN (SELECT id FROM verdicts)",
        "SELECT count(*) FROM overrides WHERE verdict_id NOT IN (SELECT id FROM verdicts)",
        "SELECT count(*) FROM verdicts WHERE spf_domain LIKE 'esp.%' AND id NOT IN (SELECT verdict_id FROM signatures)",
    ):
        assert databases.ask(store, sql) == [(0,)], sql

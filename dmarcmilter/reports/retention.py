"""Delete rows of the report tables that no run needs any more."""

from dmarcmilter.history.store import Store

_DELETE_SOURCES = "DELETE FROM report_sources WHERE report IN (SELECT id FROM reports WHERE day < :day)"
_DELETE_CONTENT = """
    UPDATE reports SET content = NULL WHERE content IS NOT NULL AND created < :then AND NOT EXISTS
        (SELECT 1 FROM report_deliveries d WHERE d.report = reports.id
            AND d.state IN ('unverified', 'pending', 'sending'))"""
_DELETE_WITHHELD = "DELETE FROM report_withheld WHERE day < :day"
_DELETE_DELIVERIES = "DELETE FROM report_deliveries WHERE report IN (SELECT id FROM reports WHERE created < :then)"
_DELETE_REPORTS = "DELETE FROM reports WHERE created < :then"


def prune(store: Store, *, reported_before: int, sent_before: int, made_before: int = 0) -> None:
    """Delete rows that are old enough.

    Sources and withheld reports of days before `reported_before` (YYYYMMDD), the content of delivered reports made
    before `sent_before`, and reports made before `made_before` with their deliveries (both in seconds since 1970).
    """
    store.change(_DELETE_SOURCES, day=reported_before)
    store.change(_DELETE_CONTENT, then=sent_before)
    store.change(_DELETE_WITHHELD, day=reported_before)
    store.change(_DELETE_DELIVERIES, then=made_before)
    store.change(_DELETE_REPORTS, then=made_before)

"""Delivery of reports: destinations, sending, suppressions, ledger."""

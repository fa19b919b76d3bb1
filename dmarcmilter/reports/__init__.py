"""Aggregate and failure reports to Domain Owners."""

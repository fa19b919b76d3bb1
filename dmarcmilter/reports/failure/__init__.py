"""Failure reports (RFC 9991): from an incident to a message."""

"""Aggregate reports (RFC 9990): from outcomes to XML."""

"""DMARC evaluation in the order of RFC 9989 section 5."""

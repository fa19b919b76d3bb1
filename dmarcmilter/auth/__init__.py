"""Verification of SPF, DKIM and ARC; Authentication-Results fields."""

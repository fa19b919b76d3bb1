"""Recorded outcomes: journal, store, statistics, survey."""

"""Counting in the processes of the filter, and the endpoint for Prometheus (docs/monitoring.md)."""

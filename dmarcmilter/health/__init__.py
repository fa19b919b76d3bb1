"""Health checks of the running filter, for `dmarcmilter health`."""

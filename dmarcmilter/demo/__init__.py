"""A small world to try the filter in: a name server that serves made-up zones."""

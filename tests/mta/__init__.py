"""Both neighbours of the filter, for tests: a scripted MTA, a private Postfix, and the next hop."""

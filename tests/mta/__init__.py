"""The filter's neighbours for tests: a private Postfix, the next hop, scripted filters; the MTA is in demo.mta."""

"""The MTA side of the milter protocol: what the demonstration and the tests use in place of Postfix."""

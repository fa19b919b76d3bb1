"""Real mail servers, an SMTP client and a next hop for tests."""

"""The surroundings of `config check` for tests: a machine of which nothing is known."""

from datetime import date

from dmarcmilter.config_check.environment import Environment

TODAY = date(2027, 1, 15)
NOWHERE = Environment(today=TODAY, hostname="mx.example.net", user="", account=None, unit=None, postfix=None)

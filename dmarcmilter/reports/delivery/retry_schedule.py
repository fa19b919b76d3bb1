"""When a report that was not delivered is tried again, and when it is given up."""

FIRST_RETRY = 900
"""Seconds before the second attempt. Each further wait is twice as long."""
LONGEST_RETRY = 12 * 3600
"""Longest wait between two attempts, in seconds."""
GIVE_UP_AFTER = 4 * 86_400
"""Seconds after a report was made until it is given up: as long as mail is usually tried (RFC 5321 4.5.4.1)."""
LEAST_ATTEMPTS = 8
"""Attempts before a report may be given up, however long it waited for its turn or the end of a suppression."""


def retry_seconds(attempts: int) -> int:
    """Seconds to wait after this number of attempts."""
    return min(FIRST_RETRY << min(attempts, 16), LONGEST_RETRY)

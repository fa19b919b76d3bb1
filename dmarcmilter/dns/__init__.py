"""The one resolver: cache, budget, prefetch, coalescing; DNS "no" and DNS "did not say" kept apart.

resolver.py holds what a worker shares, messagelookup.py what one message uses; query.py is one question in flight,
attempt.py one datagram of it. All that comes from the network or is caused by a message is bounded:

    by whom             limit                                    protects from
    message             budget (seconds of waiting)              servers that are slow on purpose holding up mail
                        strangers_budget (part of it)            the same by keys that make no difference
                        max_queries                              one message used to send queries to others
                        MAX_AHEAD_OF_ONE                         one message filling the places for asking ahead
    worker              MAX_IN_FLIGHT                            running out of descriptors
                        MAX_AHEAD (below MAX_IN_FLIGHT)          idle SMTP clients taking the places of who waits
                        cache_entries, cache_bytes               names made up to fill the memory
                        MAX_TTL, MAX_NEGATIVE_TTL                answers that never go away
                        FAILURE_HOLD                             asking a server in trouble again and again
    query               timeout                                  silence; asked ahead, it is dropped after that time
                        ATTEMPT_GAPS (three attempts)            lost datagrams; three sockets at most
                        MAX_CHAIN                                CNAMEs that loop or go on for ever
                        MAX_STRAYS                               floods of datagrams that are no reply
                        a port and an identifier per attempt     spoofed replies
    reply               MAX_RECORDS in a section                 64 KiB of tiny records: a second of work
                        MAX_POINTERS, names decoded once         compression that multiplies the names to decode
                        EDNS_PAYLOAD                             fragments
                        length prefix, time shared by servers    TCP that drips

What a limit cuts off is FAILED and says why; it never looks like an answer.
"""

from dmarcmilter.dns.message_lookup import Brief, MessageLookup
from dmarcmilter.dns.resolver import Resolver, system_nameservers

__all__ = ["Brief", "MessageLookup", "Resolver", "system_nameservers"]

"""The resolver: cache, budgets, prefetch, sharing of queries. "No such record" and "no answer" are different values.

resolver.py is what the messages of a worker share, message_lookup.py what one message uses, query_attempts.py one
query, udp_attempt.py one datagram of it. Everything that comes from the network or that a message causes is bounded:

    limit of            name                                     protects from
    message             budget (seconds of waiting)              slow servers that hold up mail
                        unaligned_budget (part of it)            the same, by keys that make no difference
                        max_queries                              a message used to send many queries to others
                        MAX_AHEAD_OF_ONE                         one message filling the places for prefetching
    worker              MAX_IN_FLIGHT                            running out of descriptors
                        MAX_AHEAD (below MAX_IN_FLIGHT)          idle SMTP clients filling the places
                        cache_entries, cache_bytes               invented names that fill the memory
                        MAX_TTL, MAX_NEGATIVE_TTL                answers that are kept too long
                        FAILURE_HOLD                             repeated queries to a failing server
    query               timeout                                  silence; a prefetched query is dropped then
                        ATTEMPT_GAPS (three attempts)            lost datagrams (at most three sockets)
                        MAX_CHAIN                                CNAME loops and endless chains
                        MAX_STRAYS                               floods of datagrams that are no reply
                        a port and an identifier per attempt     spoofed replies
    reply               MAX_RECORDS in a section                 64 KiB of tiny records: a second of work
                        MAX_POINTERS, names decoded once         compression that multiplies the names to decode
                        EDNS_PAYLOAD                             fragments
                        length prefix, time shared by servers    slow TCP

A query that a limit cuts off is FAILED with a reason; it never looks like an answer.
"""

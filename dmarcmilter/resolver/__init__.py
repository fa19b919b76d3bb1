"""The one resolver: cache, budget, prefetch, coalescing; DNS "no" and DNS "did not say" kept apart.

resolver.py holds what a worker shares, messagelookup.py what one message uses; query.py is one question in flight.
"""

from dmarcmilter.resolver.messagelookup import MessageLookup
from dmarcmilter.resolver.resolver import Resolver, system_nameservers

__all__ = ["MessageLookup", "Resolver", "system_nameservers"]

"""What other libraries say about a message: pyspf on SPF, dkimpy on DKIM and ARC, authheaders on DMARC.

For `dmarcmilter check --second-opinion` alone, never in the mail path: these libraries accept signatures that RFC 6376
forbids, and a message made for it keeps them busy for minutes. Here their DNS goes through our lookup, their CPU time
is limited, and what they raise is an answer.
"""

from dmarcmilter.second_opinion.opinion import Opinion as Opinion
from dmarcmilter.second_opinion.opinion import opinions_on as opinions_on

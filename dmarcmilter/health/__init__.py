"""Whether the filter works, as its neighbours see it: what `dmarcmilter health` tells.

finding     words and worst of what was found; the line for Nagios and its kin
checks      one function a check; each has its bound of time, and none of them raises
milterprobe a negotiation, as an MTA begins with
asking      GET /healthz of our own endpoint
"""

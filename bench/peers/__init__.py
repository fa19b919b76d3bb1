"""The filter beside others that check the same: `make bench-peers`, or `python -m bench.peers --help` as root.

A seeded corpus of signed messages and its DNS zone (`corpus`, `organizations`, `signing_keys`, `message_text`) are
delivered by `milter_load.c` to each filter (`filters`) in a network of their own (`private_network`, `name_server`,
`dns_delay`). `measurement` makes one run, `table` prints the medians of all.
"""

"""The demonstration: sample messages through a real filter, with a name server of made-up domains."""

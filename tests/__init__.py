"""The tests, by kind: unit (no socket, no process), wire, mta, docs; support holds what they share."""

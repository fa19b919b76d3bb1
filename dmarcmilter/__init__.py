"""Inbound DMARC enforcement for Postfix and Sendmail.

`pipeline` shows the stages of one message; read it first. The folders are described in docs/dev/architecture.md.
"""

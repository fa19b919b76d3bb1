"""Postfix on this machine: its settings, services, socket access and hold queue."""

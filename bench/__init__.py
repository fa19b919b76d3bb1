"""Measurements. `make worstcase`: what hostile input can cost."""

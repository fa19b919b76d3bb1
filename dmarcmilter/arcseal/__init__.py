"""ARC sealing (RFC 8617 5.1), for sites that forward."""

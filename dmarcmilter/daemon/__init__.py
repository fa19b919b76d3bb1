"""The processes of `dmarcmilter run`: supervisor, workers, listener and what watches them."""

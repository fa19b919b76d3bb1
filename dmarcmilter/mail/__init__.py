"""A message as received: header fields, domain names, paths and addresses."""

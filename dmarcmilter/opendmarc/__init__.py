"""Migration from OpenDMARC: converts its conf file to ours and imports its history file into our database."""

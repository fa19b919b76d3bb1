"""The conf file: schema, loading, validation, permissions."""

"""One module a target: `check(data)` raises AssertionError (or anything else) for a bug, `seeds()` are first inputs."""

"""A secret in a file, made at the first start.

Several servers for the same mail should have the same file, so that the same is the same everywhere.
"""

import logging
import os
import secrets
from pathlib import Path

log = logging.getLogger(__name__)

KEY_BYTES = 32


def secret(path: Path, *, keep: bool, without: str) -> bytes:
    """Read, or made and kept. `without`: what it means to have none that lasts, for the log."""
    fresh = secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes()
        if len(key) >= KEY_BYTES:
            return key
        log.warning("%s: too short to be a key; a new one is made", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # It may be the key of the other servers: not readable is not absent, and it is not replaced.
        log.warning("%s: %s; %s", path, error.strerror, without)
        return fresh
    if keep:
        _keep(fresh, path, without)
    return fresh


def _keep(key: bytes, path: Path, without: str) -> None:
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(key)
        draft.rename(path)
    except OSError as error:
        log.warning("%s: %s; %s", path, error.strerror, without)

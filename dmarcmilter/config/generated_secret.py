"""A secret key in a file, created at the first start.

Several servers for the same mail should have the same file, so that draws and hashes agree.
"""

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

KEY_BYTES = 32
"""Bytes of a new key, and the fewest that an existing one must have."""


def secret(path: Path, *, keep: bool, without: str) -> bytes:
    """The key in the file, or a new one, which is written to it if `keep`.

    `without`: for the log, what happens when the key does not last.
    """
    fresh = secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes()
        if len(key) >= KEY_BYTES:
            return key
        log.warning("%s: too short to be a key; a new one is created", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # A file that cannot be read may hold the key that other servers use, so it is not replaced.
        log.warning("%s: %s; %s", path, error.strerror, without)
        return fresh
    if keep:
        _keep(fresh, path, without)
    return fresh


def _keep(key: bytes, path: Path, without: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(key)
        draft.rename(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        log.warning("%s: %s; %s", path, error.strerror, without)

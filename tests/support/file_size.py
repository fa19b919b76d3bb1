"""A disk that is full, as one process has it."""

import resource
from contextlib import contextmanager


@contextmanager
def file_size_limit(size):
    """No file grows beyond this size in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

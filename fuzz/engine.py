"""One target under libFuzzer: `python -m fuzz.engine TARGET [libFuzzer options]`. Called by fuzz/run."""

import hashlib
import importlib
import sys

import atheris

from dmarcmilter.build_kind import BuildKind, build_kind
from fuzz import CORPUS, CRASHES, TARGETS

MAX_INPUT = 8192
"""Octets: more finds nothing new and is slow."""
SLOWEST = 10
"""Seconds after which one input counts as a hang."""


def main() -> None:
    """Instrument, write the seeds, run."""
    name, *options = sys.argv[1:]
    if name not in TARGETS:
        sys.exit(f"{name}: no such target; there are {' '.join(TARGETS)}")
    # Only our own code guides the search.
    with atheris.instrument_imports(include=["dmarcmilter"]):
        target = importlib.import_module(f"fuzz.targets.{name}")
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    CRASHES.mkdir(exist_ok=True)
    for seed in target.seeds():
        if len(seed) <= MAX_INPUT:
            (corpus / hashlib.sha256(seed).hexdigest()[:24]).write_bytes(seed)
    limits = [f"-max_len={MAX_INPUT}", f"-timeout={SLOWEST}", f"-artifact_prefix={CRASHES}/{name}-"]
    if build_kind() is BuildKind.COMPILED:
        limits.append("-keep_seed=1")  # without coverage libFuzzer would forget the corpus, and vary one empty input
    atheris.Setup(
        [sys.argv[0], str(corpus), *limits, "-rss_limit_mb=2048", "-print_final_stats=1", *options], target.check
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The shared vectors, replayed against the real filter over the milter protocol; each passes, but for named ones."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.paths import PROJECT, SHARED

REPLAY = SHARED / "tools" / "replay.py"
VECTORS = SHARED / "vectors"
SECONDS = 300

RUNS = ("spf", "dkim,arc", "dmarc,behaviour", "attack", "robust")
"""Categories that are replayed together; the runs go on side by side, since they mostly wait."""

EXPECTED_TO_FAIL = {
    "spf/blitiri/mx-resolution-limits/mx-resolution-10-terms": (
        "the sender's domain is mx10: for a name that is not multi-label check_host() returns none (RFC 7208 4.3)"
    ),
    "spf/blitiri/mx-resolution-limits/mx-resolution-11-terms": (
        "the sender's domain is mx11: for a name that is not multi-label check_host() returns none (RFC 7208 4.3)"
    ),
    "spf/blitiri/nxdomain-tests/include-not-found": (
        "the sender's domain is d02: for a name that is not multi-label check_host() returns none (RFC 7208 4.3)"
    ),
    "dmarc/rspamd/dmarc-pct-zero-sp-quarantine": (
        "the vector's zone has no record at _dmarc.zero_pct.com, nor at the subdomain: without a DMARC Policy Record "
        "DMARC does not apply (RFC 7489 6.6.3, RFC 9989 4.10)"
    ),
    "dmarc/own/dns-forms/dkim-key-timeout": (
        "a failed key lookup under p=reject is quarantined: 'any other handling decisions for the message are left to "
        "the discretion of the Mail Receiver' (RFC 9989 5.3.6); accepting would let a forgery with a junk key through"
    ),
    "robust/own/dns-behaviour/ten-signatures-all-time-out": (
        "failed key lookups under p=reject: quarantined, as in dns-forms/dkim-key-timeout (RFC 9989 5.3.6)"
    ),
}
"""Vector to the reason why the filter is right and the vector is not. One that passes after all is to be removed."""


@pytest.fixture(scope="module")
def replays():
    """All runs, started at once: categories to process and file of outcomes."""
    missing = [str(path.relative_to(SHARED.parent)) for path in (REPLAY, VECTORS) if not path.exists()]
    if missing:
        pytest.skip(f"NO CONFORMANCE TEST: {', '.join(missing)} is not beside the project")
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-replay-") as directory:
        running = {run: start(run, Path(directory)) for run in RUNS}
        yield running
        for process, _ in running.values():
            if process.poll() is None:
                process.terminate()
                process.wait(30)


def start(run: str, directory: Path):
    out = directory / f"{run}.json"
    # The replay starts the filter in a directory of its own.
    filter_ = f"env PYTHONPATH={PROJECT} {sys.executable} -m dmarcmilter run --config {{conf}}"
    command = [
        *(sys.executable, str(REPLAY)),
        *("--adapter", f"{REPLAY.parent / 'adapter_dmarcmilter.py'}:DmarcMilter", "--opt", f"cmd={filter_}"),
        *("--category", run, "--json", str(out), str(VECTORS)),
    ]
    with (directory / f"{run}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=REPLAY.parent, stdout=log, stderr=log, stdin=subprocess.DEVNULL), out


@pytest.mark.parametrize("run", RUNS)
def test_vectors(replays, run):
    process, out = replays[run]
    process.wait(SECONDS)
    log = out.with_suffix(".log").read_text("utf-8", "replace")
    assert out.exists(), f"the replay did not end well:\n{log[-2000:]}"
    outcomes = json.loads(out.read_text())["vectors"]
    assert outcomes
    assert [outcome["id"] for outcome in outcomes if "skip" in outcome] == []
    failed = {outcome["id"]: outcome["problems"] for outcome in outcomes if not outcome["ok"]}
    unexpected = {name: problems for name, problems in failed.items() if name not in EXPECTED_TO_FAIL}
    assert unexpected == {}
    passed = {outcome["id"] for outcome in outcomes if outcome["ok"]}
    assert passed.isdisjoint(EXPECTED_TO_FAIL), "these pass now; take them off the list"

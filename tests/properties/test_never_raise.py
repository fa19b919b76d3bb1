"""What must hold for any input holds for good inputs, for damaged ones and for noise.

The invariants are those of fuzz/targets; this is the short look at them, `make fuzz` the long one.
"""

import importlib
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import TARGETS, material

MAX_SEED = 8192
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

PIECES = [
    b"",
    b"\0",
    b'"',
    b"(",
    b")",
    b"\\",
    b"\r\n ",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"@",
    b"<",
    b">",
    b";",
    b",",
]
PIECES += [
    b":",
    b"=",
    b".",
    b"..",
    b"/",
    b"%",
    b"%{",
    b"*",
    b"=?utf-8?q?",
    b"?=",
    b"\xff",
    b"\x80",
    "é\u3002\u200b".encode(),
]


def target(name):
    return importlib.import_module(f"fuzz.targets.{name}")


@cache
def own_seeds(name):
    """Those that lie in this project, in a fixed order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "VECTORS", material.SHARED / "nothing-here")
        return [seed for seed in target(name).seeds() if len(seed) <= MAX_SEED]


@st.composite
def damaged(draw, seeds):
    """A seed with a few pieces replaced, doubled or taken out."""
    octets = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(octets)))
        end = draw(st.integers(start, min(len(octets), start + 24)))
        piece = draw(st.sampled_from([*PIECES, octets[start:end] * 2]) | st.binary(max_size=8))
        octets = octets[:start] + piece + octets[end:]
    return octets


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name):
    seeds = own_seeds(name)
    assert seeds
    for seed in seeds:
        target(name).check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_seeds(name):
    @given(damaged(own_seeds(name)))
    @QUICK
    def check(octets):
        target(name).check(octets)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_noise(name):
    @given(st.binary(max_size=200))
    @QUICK
    def check(octets):
        target(name).check(octets)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_shared_vectors(name):
    if not material.VECTORS.is_dir():
        pytest.skip("../shared/vectors is missing: its inputs were not tried")
    for seed in target(name).seeds():
        if len(seed) <= MAX_SEED:
            target(name).check(seed)

"""Fuzzing: each module of `fuzz.targets` states what must hold for any input. See README.md beside this file.

The fake DNS, the signer and the settings of the tests are used here too.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TESTS = ROOT / "tests"
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
TARGETS = tuple(sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py")))

if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

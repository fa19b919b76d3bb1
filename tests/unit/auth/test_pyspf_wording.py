"""pyspf's messages: each beginning is one that pyspf has, and leads to its own code."""

import inspect

import pytest
import spf

from dmarcmilter.auth.pyspf_wording import WORDINGS, code_of
from dmarcmilter.reasons import Code

SOURCE = inspect.getsource(spf).replace("'%s= MUST", "'exp= MUST")
"""pyspf puts the name of a modifier into one of its messages."""


@pytest.mark.parametrize(("wording", "code"), WORDINGS)
def test_each_wording_leads_to_its_code(wording, code):
    """None is hidden by a shorter one before it."""
    assert code_of(wording) is code_of(f"{wording}: x.example") is code


@pytest.mark.parametrize("wording", [wording for wording, _ in WORDINGS])
def test_pyspf_still_says_so(wording):
    """A release that changes its wording would make all such errors alike."""
    assert wording in SOURCE


def test_each_code_has_one_wording():
    assert len({code for _, code in WORDINGS}) == len(WORDINGS)


@pytest.mark.parametrize("text", ["", "a message of a later version", "x Too many DNS lookups"])
def test_anything_else_is_not_evaluated(text):
    assert code_of(text) is Code.SPF_NOT_EVALUATED

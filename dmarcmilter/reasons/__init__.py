"""Reasons of results, decisions and failures: codes with parameters, and their texts in English and Japanese."""

from dmarcmilter.reasons.catalogue import Language as Language
from dmarcmilter.reasons.code import Code as Code
from dmarcmilter.reasons.reason import Parameter as Parameter
from dmarcmilter.reasons.reason import Reason as Reason
from dmarcmilter.reasons.reason import text_of as text_of

"""An outcome record in plain sentences, in English and Japanese."""

from dmarcmilter.explain.explanation import as_text as as_text
from dmarcmilter.explain.explanation import as_values as as_values
from dmarcmilter.explain.explanation import explain as explain
from dmarcmilter.explain.explanation import heading as heading

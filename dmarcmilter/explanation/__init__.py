"""An outcome record in plain sentences, in English and Japanese."""

from dmarcmilter.explanation.catalogue import Language as Language
from dmarcmilter.explanation.explain import as_text as as_text
from dmarcmilter.explanation.explain import as_values as as_values
from dmarcmilter.explanation.explain import explain as explain
from dmarcmilter.explanation.explain import heading as heading

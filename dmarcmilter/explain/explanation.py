"""Explanation of an outcome record: results, the rule that decided, what the sender or the administrator can do."""

from dataclasses import dataclass

from dmarcmilter.explain import administrator_advice as administrator
from dmarcmilter.explain import authentication_sentences as found
from dmarcmilter.explain import decision_sentences as decided
from dmarcmilter.explain import sender_advice as sender
from dmarcmilter.explain.catalogue import Catalogue, Sentence, catalogue, harmless
from dmarcmilter.history.journal_search import RecordedIdentity
from dmarcmilter.outcome import OutcomeRecord
from dmarcmilter.reasons import Language

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Explanation:
    found: tuple[Sentence, ...]
    decided: tuple[Sentence, ...]
    sender: tuple[Sentence, ...]
    """What the sender can do; empty where nothing needs to be done."""
    administrator: tuple[Sentence, ...]
    """What the receiving administrator can do."""


SECTIONS = ("found", "decided", "sender", "administrator")


def explain(record: OutcomeRecord, language: Language = Language.EN) -> Explanation:
    """Sentences from the outcome object of the journal or of `check`."""
    texts = catalogue(language)
    return Explanation(
        *(tuple(dict.fromkeys(part.sentences(record, texts))) for part in (found, decided, sender, administrator))
    )


def as_text(explained: Explanation, language: Language = Language.EN) -> str:
    """For a terminal: each section under its heading, conf lines set off so that they can be copied."""
    texts = catalogue(language)
    lines = []
    for section in SECTIONS:
        sentences: tuple[Sentence, ...] = getattr(explained, section)
        if sentences:
            lines += [texts.word(f"heading.{section}"), *(INDENT + line for one in sentences for line in _lines(one))]
    return "\n".join(lines)


def _lines(sentence: Sentence) -> list[str]:
    return [sentence.text, *(f"{INDENT}{INDENT}{line}" for line in sentence.conf.splitlines())]


def as_values(explained: Explanation) -> dict[str, list[dict[str, str]]]:
    """For JSON: codes are the same in all languages."""
    return {section: [_values(one) for one in getattr(explained, section)] for section in SECTIONS}


def _values(sentence: Sentence) -> dict[str, str]:
    values = {"code": sentence.code, "text": sentence.text}
    return values | {"conf": sentence.conf} if sentence.conf else values


def heading(record: OutcomeRecord | RecordedIdentity, language: Language) -> str:
    """Which message: an id may have been used for several."""
    texts: Catalogue = catalogue(language)
    return texts.word(
        "heading.message",
        time=harmless(record.time).replace("T", " ").replace("Z", " UTC"),
        queue_id=record.queue_id or "-",
        client=record.client_ip or "-",
        helo=record.helo or "-",
    )

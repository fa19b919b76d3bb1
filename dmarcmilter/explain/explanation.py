"""Explanation of an outcome record: results, the rule that decided, what the sender or the administrator can do."""

from collections.abc import Iterable

from dmarcmilter.explain import administrator_advice, authentication_sentences, decision_sentences, sender_advice
from dmarcmilter.explain.catalogue import Catalogue, Sentence, catalogue, harmless
from dmarcmilter.history.journal_search import RecordedIdentity
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reasons import Language
from dmarcmilter.value import Value

INDENT = "  "


class Explanation(Value):
    """The sentences of each section; `explain --json` has the sections under these names."""

    found: tuple[Sentence, ...]
    """The author, the authentication results and the policy."""
    decided: tuple[Sentence, ...]
    """The decision and what was done."""
    sender: tuple[Sentence, ...]
    """What the sender can do; empty where nothing needs to be done."""
    administrator: tuple[Sentence, ...]
    """What the receiving administrator can do."""


SECTIONS = ("found", "decided", "sender", "administrator")
"""Sections in the order in which they are printed."""


def explain(record: OutcomeRecord, language: Language = Language.EN) -> Explanation:
    """Explain an outcome record of the journal, the database or `check`."""
    texts = catalogue(language)
    return Explanation(
        found=_distinct(authentication_sentences.sentences(record, texts)),
        decided=_distinct(decision_sentences.sentences(record, texts)),
        sender=_distinct(sender_advice.sentences(record, texts)),
        administrator=_distinct(administrator_advice.sentences(record, texts)),
    )


def _distinct(sentences: Iterable[Sentence]) -> tuple[Sentence, ...]:
    return tuple(dict.fromkeys(sentences))


def as_text(explained: Explanation, language: Language = Language.EN) -> str:
    """The explanation for a terminal: each section under its heading, conf lines indented to be copied."""
    texts = catalogue(language)
    lines = []
    for section in SECTIONS:
        sentences: tuple[Sentence, ...] = getattr(explained, section)
        if sentences:
            lines += [
                texts.word(f"heading.{section}"),
                *(INDENT + line for sentence in sentences for line in _lines(sentence)),
            ]
    return "\n".join(lines)


def _lines(sentence: Sentence) -> list[str]:
    return [sentence.text, *(f"{INDENT}{INDENT}{line}" for line in sentence.conf.splitlines())]


def as_values(explained: Explanation) -> dict[str, list[dict[str, str]]]:
    """The explanation for JSON. Codes are the same in all languages."""
    return {section: [_values(sentence) for sentence in getattr(explained, section)] for section in SECTIONS}


def _values(sentence: Sentence) -> dict[str, str]:
    values = {"code": sentence.code, "text": sentence.text}
    return values | {"conf": sentence.conf} if sentence.conf else values


def heading(record: OutcomeRecord | RecordedIdentity, language: Language) -> str:
    """The line that identifies the message, because one queue id may have been used for several."""
    texts: Catalogue = catalogue(language)
    return texts.word(
        "heading.message",
        time=harmless(record.time).replace("T", " ").replace("Z", " UTC"),
        queue_id=record.queue_id or "-",
        client=record.client_ip or "-",
        helo=record.helo or "-",
    )

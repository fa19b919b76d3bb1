"""Reason: an immutable code with parameters, whose text is rendered only where it is needed."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, Union

from dmarcmilter.reasons.catalogue import Language, texts
from dmarcmilter.reasons.code import Code
from dmarcmilter.value import Value

Parameter: TypeAlias = Union[str, int, "Reason"]


class Reason(Value):
    """A code with its parameters: `Reason.of(Code.ARC_SEAL, number=2, reason=Reason.of(Code.KEY_MISSING))`."""

    code: Code
    parameters: tuple[tuple[str, Parameter], ...] = ()
    """The placeholders of the code's texts and their values; a value may be another reason."""

    @staticmethod
    def of(code: Code, /, **parameters: Parameter) -> "Reason":
        return Reason(code, tuple(parameters.items()))

    def __str__(self) -> str:
        """The English text."""
        return self.text()

    def text(self, language: Language = Language.EN) -> str:
        """The text for records, reports and header fields (there always in English)."""
        template = texts(language).text[self.code]
        if not self.parameters:
            return template
        return template.format_map(
            {name: value.text(language) if isinstance(value, Reason) else value for name, value in self.parameters}
        )

    def explained(self, language: Language, clean: Callable[[object], str]) -> str:
        """The text for people; `clean` makes parameters, which come from mail and from DNS, safe to show."""
        catalogue = texts(language)
        template = catalogue.explained.get(self.code) or catalogue.text[self.code]
        return template.format_map(
            {
                name: value.explained(language, clean) if isinstance(value, Reason) else clean(value)
                for name, value in self.parameters
            }
        )

    def get(self, name: str) -> Parameter | None:
        """The parameter of that name; None: the code has none."""
        return next((value for key, value in self.parameters if key == name), None)

    def chain(self) -> "Iterator[Reason]":
        """The reason itself and the reasons within it, the outermost first."""
        reason: Parameter | None = self
        while isinstance(reason, Reason):
            yield reason
            reason = reason.get("reason")

    @property
    def cause(self) -> "Reason":
        """The innermost reason: "no key" of "ARC-Seal 2: no key"."""
        *_, innermost = self.chain()
        return innermost


def text_of(reason: Reason | None) -> str:
    """The English text of a reason; empty for None."""
    return "" if reason is None else reason.text()

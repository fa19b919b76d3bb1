"""The DNS Tree Walk (RFC 9989 4.10) and the Organizational Domain that it finds (4.10.2)."""

from dataclasses import dataclass

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import Psd
from dmarcmilter.dmarc.record_lookup import Published, fetch
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.domain import Domain, labels
from dmarcmilter.reasons import Reason

LABELS_AFTER_JUMP = 7
"""RFC 9989 4.10 step 4: a name of eight or more labels is cut to seven, so that eight queries are the most."""


@dataclass(frozen=True, slots=True)
class Walk:
    steps: tuple[Published, ...]
    """The names asked, longest first: the first is the start. walk() ends with the first that failed."""

    @property
    def start(self) -> Domain:
        return self.steps[0].domain

    @property
    def found(self) -> tuple[Published, ...]:
        return tuple(step for step in self.steps if step.record is not None)

    @property
    def failed(self) -> Reason | None:
        return self.steps[-1].failed


def targets(start: Domain) -> tuple[Domain, ...]:
    """The domains of a full walk, in order (RFC 9989 4.10 steps 3, 4, 7)."""
    above = labels(start)[1:][-LABELS_AFTER_JUMP:]
    return (start, *(Domain(".".join(above[index:])) for index in range(len(above))))


def walk(start: Domain, lookup: Lookup) -> Walk:
    """Ask name by name until a `psd` tag or the top ends it. A failure ends it too: what lies above is not needed."""
    steps: list[Published] = []
    for domain in targets(start):
        step = fetch(domain, lookup)
        steps.append(step)
        if step.failed or (step.record is not None and step.record.psd is not Psd.U):
            break
    return Walk(tuple(steps))


def past_failure(walked: Walk, lookup: Lookup) -> Walk:
    """A walk that failed, continued as if nothing were published at the name that did not answer.

    The remaining names are asked from the top down, because the organization's record is near the top, and until a
    second one fails: names below that one are served by the same name servers. A sender who writes From a long name
    below a lame delegation therefore waits for two timeouts, not for eight.
    """
    failed = walked.steps[-1].domain
    remaining = [name for name in targets(walked.start) if len(labels(name)) < len(labels(failed))]
    answered: list[Published] = []
    for domain in reversed(remaining):
        step = fetch(domain, lookup)
        if step.failed:
            break
        answered.insert(0, step)
    ends = (place for place, step in enumerate(answered) if step.record is not None and step.record.psd is not Psd.U)
    return Walk((*walked.steps, *answered[: next(ends, len(answered)) + 1]))


def organizational_domain(walked: Walk, suffixes: Suffixes) -> Domain | None:
    """The Organizational Domain of the walk's start; None: DNS failed before it could be known."""
    selected = _selected_despite_failure(walked, suffixes) if walked.failed else selected_by_records(walked)
    return None if selected is None else below_public_suffixes(selected, walked.start, suffixes)


def selected_by_records(walked: Walk) -> Domain:
    """The selection of RFC 9989 4.10.2. Only the last record found can hold `psd=y` or `psd=n`: they end a walk."""
    if not walked.found:
        return walked.start
    last = walked.found[-1]
    if last.record is not None and last.record.psd is Psd.Y and last.domain != walked.start:
        return one_label_below(last.domain, walked.start)
    return last.domain


def below_public_suffixes(selected: Domain, start: Domain, suffixes: Suffixes) -> Domain:
    """Go down while the name is a public suffix, as if its record said `psd=y` (RFC 9989 11.8).

    Strangers below a suffix whose owner forgot the tag would otherwise be aligned with each other.
    """
    while selected != start and suffixes.is_icann_suffix(selected):
        selected = one_label_below(selected, start)
    return selected


def one_label_below(ancestor: Domain, start: Domain) -> Domain:
    """On the way from the ancestor down to the start, whether that name was asked or not."""
    return Domain(".".join(labels(start)[-len(labels(ancestor)) - 1 :]))


def highest_organizational_domain(domain: Domain, suffixes: Suffixes) -> Domain:
    """The shortest name that a walk from this domain can select."""
    return below_public_suffixes(Domain(labels(domain)[-1]), domain, suffixes)


def applicable(walked: Walk, organizational: Domain) -> Published | None:
    """The record to apply: the start's, its Organizational Domain's, the one of the PSD above (RFC 9989 4.10.1).

    Records between the start and its Organizational Domain are of no account.
    """
    by_domain = {step.domain: step for step in walked.found}
    above = (step for step in walked.found if len(labels(step.domain)) < len(labels(organizational)))
    return by_domain.get(walked.start) or by_domain.get(organizational) or next(above, None)


def _selected_despite_failure(walked: Walk, suffixes: Suffixes) -> Domain | None:
    """What the rest of the walk could not change: the record just below public suffixes, when one of these failed.

    Whatever a public suffix publishes, it is not the Organizational Domain (see below_public_suffixes).
    Without this, a top-level domain whose servers stumble over `_dmarc` would exempt everybody below it.
    """
    failed = walked.steps[-1].domain
    remaining = (name for name in targets(walked.start) if len(labels(name)) <= len(labels(failed)))
    if failed == walked.start or not walked.found or not all(map(suffixes.is_icann_suffix, remaining)):
        return None
    below = one_label_below(failed, walked.start)
    return below if walked.found[-1].domain == below else None

"""The DNS Tree Walk (RFC 9989 4.10), and how it selects the Organizational Domain (4.10.2)."""

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import Psd
from dmarcmilter.dmarc.record_lookup import PublishedRecord, fetch
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.domain import Domain, labels
from dmarcmilter.reasons import Reason
from dmarcmilter.value import Value

LABELS_AFTER_JUMP = 7
"""Labels to which a name of eight or more is cut after the first query, for at most eight queries (RFC 9989 4.10,
step 4)."""


class Walk(Value):
    """The lookups of one DNS Tree Walk."""

    steps: tuple[PublishedRecord, ...]
    """One for each name, longest first, the start of the walk first. walk() ends with the first that failed."""

    @property
    def start(self) -> Domain:
        return self.steps[0].domain

    @property
    def with_record(self) -> tuple[PublishedRecord, ...]:
        """The steps with a policy record."""
        return tuple([step for step in self.steps if step.record is not None])

    @property
    def failed(self) -> Reason | None:
        return self.steps[-1].failed


def targets(start: Domain) -> tuple[Domain, ...]:
    """The domains of a full walk, in order (RFC 9989 4.10 steps 3, 4, 7)."""
    above = labels(start)[1:][-LABELS_AFTER_JUMP:]
    return (start, *(Domain(".".join(above[index:])) for index in range(len(above))))


def walk(start: Domain, lookup: Lookup) -> Walk:
    """Look up one name after the other, up to a `psd` tag, the top or a failed lookup."""
    steps: list[PublishedRecord] = []
    for domain in targets(start):
        step = fetch(domain, lookup)
        steps.append(step)
        if step.failed or (step.record is not None and step.record.psd is not Psd.U):
            break
    return Walk(tuple(steps))


def past_failure(walked: Walk, lookup: Lookup) -> Walk:
    """Continue a failed walk as if the name whose lookup failed had no record.

    The remaining names are looked up from the top down, because the organization's record is near the top. A second
    failure ends it: names below that one probably have the same name servers. So a long name in From below a lame
    delegation costs two timeouts, not eight.
    """
    failed = walked.steps[-1].domain
    remaining = [name for name in targets(walked.start) if len(labels(name)) < len(labels(failed))]
    answered: list[PublishedRecord] = []
    for domain in reversed(remaining):
        step = fetch(domain, lookup)
        if step.failed:
            break
        answered.insert(0, step)
    ends = (place for place, step in enumerate(answered) if step.record is not None and step.record.psd is not Psd.U)
    return Walk((*walked.steps, *answered[: next(ends, len(answered)) + 1]))


def organizational_domain(walked: Walk, suffixes: Suffixes) -> Domain | None:
    """The Organizational Domain of the walk's start; None: a failed lookup leaves it unknown."""
    selected = _selected_despite_failure(walked, suffixes) if walked.failed else selected_by_records(walked)
    return None if selected is None else below_public_suffixes(selected, walked.start, suffixes)


def selected_by_records(walked: Walk) -> Domain:
    """The Organizational Domain by the records alone (RFC 9989 4.10.2). Only the last can have `psd=y` or `psd=n`."""
    with_record = walked.with_record
    if not with_record:
        return walked.start
    last = with_record[-1]
    if last.record is not None and last.record.psd is Psd.Y and last.domain != walked.start:
        return one_label_below(last.domain, walked.start)
    return last.domain


def below_public_suffixes(selected: Domain, start: Domain, suffixes: Suffixes) -> Domain:
    """Go down one label while the name is a public suffix, as if its record had `psd=y` (RFC 9989 11.8).

    Otherwise unrelated domains below a suffix whose record lacks the tag would be aligned with each other.
    """
    while selected != start and suffixes.is_icann_suffix(selected):
        selected = one_label_below(selected, start)
    return selected


def one_label_below(ancestor: Domain, start: Domain) -> Domain:
    """The name one label longer than the ancestor, on the way down to the start, whether it was looked up or not."""
    return Domain(".".join(labels(start)[-len(labels(ancestor)) - 1 :]))


def highest_organizational_domain(domain: Domain, suffixes: Suffixes) -> Domain:
    """The shortest name that a walk from this domain can select."""
    return below_public_suffixes(Domain(labels(domain)[-1]), domain, suffixes)


def applicable(walked: Walk, organizational: Domain) -> PublishedRecord | None:
    """The record that applies: of the start, else of its Organizational Domain, else of the PSD above it.

    Records between the start and its Organizational Domain are ignored (RFC 9989 4.10.1).
    """
    with_record = walked.with_record
    if not with_record:
        return None
    by_domain = {step.domain: step for step in with_record}
    applied = by_domain.get(walked.start) or by_domain.get(organizational)
    if applied is not None:
        return applied
    above = [step for step in with_record if len(labels(step.domain)) < len(labels(organizational))]
    return above[0] if above else None


def _selected_despite_failure(walked: Walk, suffixes: Suffixes) -> Domain | None:
    """The domain with a record just below the public suffix whose lookup failed; None: the failure matters.

    A public suffix is never the Organizational Domain, whatever it publishes (see below_public_suffixes). Without this
    rule, a top-level domain whose servers fail to answer for `_dmarc` would exempt all domains below it.
    """
    failed = walked.steps[-1].domain
    remaining = (name for name in targets(walked.start) if len(labels(name)) <= len(labels(failed)))
    if failed == walked.start or not walked.with_record or not all(map(suffixes.is_icann_suffix, remaining)):
        return None
    below = one_label_below(failed, walked.start)
    return below if walked.with_record[-1].domain == below else None

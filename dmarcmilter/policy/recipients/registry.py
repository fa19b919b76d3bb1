"""Recipients: looks up the choices of all recipients of a message, in the file and the database."""

from collections.abc import Sequence

from dmarcmilter.policy.recipients import choice
from dmarcmilter.policy.recipients.choice import Address, Choice, Found
from dmarcmilter.policy.recipients.choices_file import ListingFile
from dmarcmilter.policy.recipients.database_cache import Answers
from dmarcmilter.policy.types import Exempt


class Recipients:
    """May be used from several threads. The file's entries come before the database's, both before the default."""

    def __init__(
        self, default: Choice = Choice.ENFORCE, listing: ListingFile | None = None, answers: Answers | None = None
    ) -> None:
        self._default = Found.ENFORCE if default is Choice.ENFORCE else Found.EXEMPT
        self._listing = listing
        self._answers = answers

    @property
    def configured(self) -> bool:
        """Whether the recipients of a message are needed."""
        return bool(self._listing or self._answers) or self._default is Found.EXEMPT

    def exempt(self, recipients: Sequence[bytes], *, incomplete: bool = False) -> Exempt:
        """Whether all, some or none are exempt. `incomplete`: there are more recipients, whose choices are unknown."""
        if not self.configured:
            return Exempt.NOBODY
        choices = self._choices(recipients)
        if incomplete:
            choices.append(Found.UNKNOWN)
        free = [result is not Found.ENFORCE for result in choices]
        if all(free):
            return Exempt.ALL if free else Exempt.NOBODY
        return Exempt.SOME if any(free) else Exempt.NOBODY

    def _choices(self, recipients: Sequence[bytes]) -> list[Found]:
        """ENFORCE, EXEMPT or UNKNOWN for each.

        ENFORCE for an address that is not plain: senders can write any recipient so, and the choice stored for it
        may be that of another mailbox than the one that the MTA delivers to.
        """
        addresses = choice.read_all(recipients)
        found = [self._listed(one) if one else Found.ENFORCE for one in addresses]
        open_ = {place: one.forms for place, one in enumerate(addresses) if one and found[place] is Found.NOTHING}
        if self._answers and open_ and not {Found.ENFORCE, Found.EXEMPT}.issubset(found):
            answered = self._answers.find(list(open_.values()))
            for place, answer in zip(open_, answered, strict=True):
                found[place] = answer
        return [self._default if one is Found.NOTHING else one for one in found]

    def _listed(self, address: Address) -> Found:
        return self._listing.find(address) if self._listing else Found.NOTHING


NOBODY_ASKED = Recipients()
"""No choices are configured: all recipients are treated alike."""

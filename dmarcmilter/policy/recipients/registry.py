"""RecipientChoices: looks up the choices of all recipients of a message, in the file and the database."""

from collections.abc import Sequence

from dmarcmilter.policy.recipients import choice as recipient_choice
from dmarcmilter.policy.recipients.choice import Choice, RecipientAddress, StoredChoice
from dmarcmilter.policy.recipients.choices_file import ListingFile
from dmarcmilter.policy.recipients.database_cache import Answers
from dmarcmilter.policy.rules import Exempt


class RecipientChoices:
    """May be used from several threads. The file's entries come before the database's, both before the default."""

    def __init__(
        self, default: Choice = Choice.ENFORCE, listing: ListingFile | None = None, answers: Answers | None = None
    ) -> None:
        self._default = StoredChoice.ENFORCE if default is Choice.ENFORCE else StoredChoice.EXEMPT
        self._listing = listing
        self._answers = answers

    @property
    def configured(self) -> bool:
        """Whether the recipients of a message are needed."""
        return bool(self._listing or self._answers) or self._default is StoredChoice.EXEMPT

    def exempt(self, recipients: Sequence[bytes], *, incomplete: bool = False) -> Exempt:
        """Whether all, some or none are exempt. `incomplete`: there are more recipients, whose choices are unknown."""
        if not self.configured:
            return Exempt.NOBODY
        choices = self._choices(recipients)
        if incomplete:
            choices.append(StoredChoice.UNKNOWN)
        free = [result is not StoredChoice.ENFORCE for result in choices]
        if all(free):
            return Exempt.ALL if free else Exempt.NOBODY
        return Exempt.SOME if any(free) else Exempt.NOBODY

    def _choices(self, recipients: Sequence[bytes]) -> list[StoredChoice]:
        """ENFORCE, EXEMPT or UNKNOWN for each.

        ENFORCE for an address that is not plain: senders can write any recipient so, and the choice stored for it
        may be that of another mailbox than the one that the MTA delivers to.
        """
        addresses = recipient_choice.read_all(recipients)
        choices = [self._listed(address) if address else StoredChoice.ENFORCE for address in addresses]
        open_ = {
            place: address.forms
            for place, address in enumerate(addresses)
            if address and choices[place] is StoredChoice.NOTHING
        }
        if self._answers and open_ and not {StoredChoice.ENFORCE, StoredChoice.EXEMPT}.issubset(choices):
            answered = self._answers.find(list(open_.values()))
            for place, answer in zip(open_, answered, strict=True):
                choices[place] = answer
        return [self._default if choice is StoredChoice.NOTHING else choice for choice in choices]

    def _listed(self, address: RecipientAddress) -> StoredChoice:
        return self._listing.find(address) if self._listing else StoredChoice.NOTHING


NOBODY_ASKED = RecipientChoices()
"""No choices are configured: all recipients are treated alike."""

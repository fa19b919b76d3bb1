"""Settings that let failing mail through: [[override]] entries, forwarders, rollout, recipients who opted out."""

from datetime import date

from dmarcmilter.config.finding import Finding, warning
from dmarcmilter.config.override_entries import parsed
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check.wide_networks import too_wide
from dmarcmilter.policy.overrides import is_authenticated
from dmarcmilter.policy.recipients.choice import Choice
from dmarcmilter.policy.rules import EVERY_MESSAGE, STRICT, EntryAction, Mode, OverrideRule

MAX_SHOWN = 3
"""Number of domains that a message names; further ones are only counted."""


def findings(config: Config, today: date) -> list[Finding]:
    """The findings on settings that let failing mail through."""
    texts = [text for entry in parsed(config.override) for text in _override(entry, today)]
    return [*_rollout(config), *(warning(text) for text in (*texts, *_forwarders(config), *_recipients(config)))]


def _override(entry: OverrideRule, today: date) -> list[str]:
    key = f"[[override]] {entry.name}:"
    texts = []
    if entry.expires is not None and entry.expires <= today:
        texts.append(f"{key} expired on {entry.expires}: it matches nothing any more")
    if _softens_for_anyone(entry):
        texts.append(
            f"{key} require_auth is false and none of its criteria is authenticated: anyone can write what it asks "
            "for, so it lets forged mail through"
        )
    if entry.action in STRICT and not entry.from_domain and not is_authenticated(entry):
        texts.append(
            f"{key} it can change nothing: to be stricter it needs from_domain, to be milder an authenticated criterion"
        )
    texts += [f"{key} client {text}" for text in too_wide(entry.client)]
    return texts


def _softens_for_anyone(entry: OverrideRule) -> bool:
    """Whether the entry softens policies for mail that anyone can write; "quarantine" is milder than p=reject."""
    return not entry.require_auth and not is_authenticated(entry) and entry.action is not EntryAction.REJECT


def _rollout(config: Config) -> list[Finding]:
    policy = config.policy
    if policy.mode is not Mode.ENFORCE:
        return []
    texts = []
    if policy.rollout_percent == 0:
        texts.append("[policy] rollout_percent is 0: no policy is enforced for any message")
    elif policy.rollout_percent < EVERY_MESSAGE:
        texts.append(f"[policy] rollout_percent: policies are enforced for {policy.rollout_percent} % of messages only")
    if policy.rollout_domains:
        count, shown = len(policy.rollout_domains), ", ".join(policy.rollout_domains[:MAX_SHOWN])
        texts.append(f"[policy] rollout_domains: only the policies of {count} domains ({shown}) are enforced")
    return [warning(text) for text in texts]


def _forwarders(config: Config) -> list[str]:
    return [f"[forwarders] networks {text}" for text in too_wide(config.forwarders.parsed())]


def _recipients(config: Config) -> list[str]:
    recipients = config.recipients
    if recipients.default is not Choice.EXEMPT:
        return []
    if recipients.file or recipients.database:
        return ['[recipients] default is "exempt": policies are enforced only for recipients who have asked for it']
    return [
        '[recipients] default is "exempt", and recipients cannot choose otherwise: no policy is enforced for anyone'
    ]

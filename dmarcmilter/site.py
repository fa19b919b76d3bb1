"""From the Config to the Site that the pipeline works with: files read and names resolved once, before any mail."""

import socket
from pathlib import Path

from dmarcmilter import keyfile
from dmarcmilter.config import ConfigError
from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.suffixes import Suffixes, SuffixListError
from dmarcmilter.marking import Channel
from dmarcmilter.pipeline import Site
from dmarcmilter.replies import Texts
from dmarcmilter.rules import Rules
from dmarcmilter.settings import Config, Pct

def build(config: Config, *, keep_key: bool = True) -> Site:
    """ConfigError when a file that the conf names cannot be used. Only the daemon keeps a key that it makes."""
    try:
        suffixes = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as error:
        raise ConfigError(f"[dmarc] psl_file: {error}") from error
    return Site(
        rules=_rules(config),
        texts=Texts(
            reject=config.policy.reject_text,
            author=config.policy.author_text,
            defer=config.policy.defer_text,
            info_url=config.policy.info_url,
        ),
        channel=_channel(config),
        method=config.dmarc.discovery,
        suffixes=suffixes,
        honour_pct=config.dmarc.pct is Pct.RFC7489,
        sampling_key=keyfile.secret(
            Path(config.policy.sampling_key), keep=keep_key, without="pct sampling starts anew with each restart"
        ),
        host_name=_host_name(),
    )


def _channel(config: Config) -> Channel:
    return Channel(
        way=config.policy.quarantine_action,
        header_name=config.quarantine.header_name,
        header_value=config.quarantine.header_value,
        subject_tag=config.quarantine.subject_tag,
        mailbox=config.quarantine.mailbox,
        record_recipients=config.quarantine.record_recipients,
    )


def _rules(config: Config) -> Rules:
    sealers = (domains.parse(name) for name in config.arc.trusted_sealers)
    return Rules(
        mode=config.policy.mode,
        reject_action=config.policy.reject_action,
        quarantine_action=config.policy.quarantine_action,
        mailing_list_traces=config.policy.mailing_list_traces,
        temperror=config.dmarc.temperror,
        on_missing=config.author.on_missing,
        on_multiple=config.author.on_multiple,
        on_malformed=config.author.on_malformed,
        trusted_sealers=frozenset(name for name in sealers if name),
    )


def _host_name() -> str:
    """The name of this host, as far as it is fit for a header."""
    return str(domains.parse(socket.gethostname()) or "localhost")

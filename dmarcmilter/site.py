"""From the Config to the Site that the pipeline works with: files read and names resolved once, before any mail."""

import logging
import os
import secrets
import socket
from pathlib import Path

from dmarcmilter.actions import Texts
from dmarcmilter.config import ConfigError
from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.suffixes import Suffixes, SuffixListError
from dmarcmilter.pipeline import Site
from dmarcmilter.rules import Rules
from dmarcmilter.settings import Config, Pct

log = logging.getLogger(__name__)

KEY_BYTES = 32


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
        method=config.dmarc.discovery,
        suffixes=suffixes,
        honour_pct=config.dmarc.pct is Pct.RFC7489,
        sampling_key=_sampling_key(Path(config.policy.sampling_key), keep=keep_key),
        host_name=_host_name(),
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


def _sampling_key(path: Path, *, keep: bool) -> bytes:
    """The secret that pct's sampling is keyed with: read, or made at the first start.

    Several servers for the same mail should have the same file, so that a retry draws the same number everywhere.
    """
    fresh = secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes()
        if len(key) >= KEY_BYTES:
            return key
        log.warning("%s: too short to be a key; a new one is made", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # It may be the key of the other servers: not readable is not absent, and it is not replaced.
        log.warning("%s: %s; pct sampling starts anew with each restart", path, error.strerror)
        return fresh
    if keep:
        _keep(fresh, path)
    return fresh


def _keep(key: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(key)
        draft.rename(path)
    except OSError as error:
        log.warning("%s: %s; pct sampling starts anew with each restart", path, error.strerror)


def _host_name() -> str:
    """The name of this host, as far as it is fit for a header."""
    return str(domains.parse(socket.gethostname()) or "localhost")

"""Warnings about a conf file that is valid but may not do what its owner thinks."""

import grp
import os
from pathlib import Path

from dmarcmilter.endpoint import parse_socket
from dmarcmilter.rules import AuthorAction, Mode, QuarantineAction, RejectAction
from dmarcmilter.settings import Config

POSTFIX_QUEUE = "/var/spool/postfix"


def advise(config: Config) -> list[str]:
    """One sentence for each thing worth a look, the most harmful first."""
    return [*_enforcement(config), *_author(config), *_socket(config), *_files(config)]


def _enforcement(config: Config) -> list[str]:
    policy = config.policy
    found = []
    if policy.mode is Mode.MONITOR:
        found.append('[policy] mode is "monitor": results are recorded, no policy is enforced')
    if policy.reject_action is RejectAction.NONE:
        found.append('[policy] reject_action is "none": mail that fails p=reject is delivered')
    if policy.quarantine_action is QuarantineAction.NONE:
        found.append('[policy] quarantine_action is "none": mail that fails p=quarantine is delivered unmarked')
        if policy.reject_action is RejectAction.QUARANTINE:
            found.append('[policy] reject_action is "quarantine", which quarantine_action "none" turns into delivery')
    return found


def _author(config: Config) -> list[str]:
    author = config.author
    return [
        f'[author] {key} is "accept": mail without one clear Author Domain passes without any policy'
        for key in ("on_missing", "on_multiple", "on_malformed")
        if getattr(author, key) is AuthorAction.ACCEPT
    ]


def _socket(config: Config) -> list[str]:
    where = parse_socket(config.milter.socket)
    if where.family != "unix":
        return []
    found = []
    if Path(POSTFIX_QUEUE).is_dir() and not where.path.startswith(POSTFIX_QUEUE + "/"):
        found.append(
            f"[milter] socket is outside {POSTFIX_QUEUE}: a Postfix smtpd that runs chrooted (Debian's default) "
            "cannot reach it",
        )
    mode = int(config.milter.socket_mode, 8)
    if not mode & 0o020 and not mode & 0o002:
        found.append("[milter] socket_mode lets nobody but the filter's own user connect")
    if config.milter.socket_group and config.milter.socket_group not in {g.gr_name for g in grp.getgrall()}:
        found.append(f"[milter] socket_group: there is no group {config.milter.socket_group!r} on this machine")
    return found


def _files(config: Config) -> list[str]:
    found = []
    journal = Path(config.history.journal)
    # os.access, because Path.exists raises where a folder above may not be entered.
    existing = next((path for path in (journal, *journal.parents) if os.access(path, os.F_OK)), journal)
    if not os.access(existing, os.W_OK | os.X_OK):
        found.append(f"[history] journal: {existing} is not writable for the user that runs this check")
    if config.dmarc.psl_file and not os.access(config.dmarc.psl_file, os.R_OK):
        found.append(f"[dmarc] psl_file: {config.dmarc.psl_file} is not readable for the user that runs this check")
    return found

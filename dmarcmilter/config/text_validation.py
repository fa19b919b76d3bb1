"""Validation of texts that are sent to clients or written into mail: texts of [policy], keys of [quarantine]."""

import re

from dmarcmilter.config.filtering_sections import PolicySection, QuarantineSection
from dmarcmilter.mail import domain as domains
from dmarcmilter.policy.rules import QuarantineAction
from dmarcmilter.response.reply_templates import MAX_QUEUE_ID, MAX_REPLY, SEE

PLACEHOLDERS = ("domain", "policy_domain", "queue_id", "reason", "info_url")
PAGE_PLACEHOLDERS = ("domain", "policy_domain", "queue_id")
TEXTS = ("reject_text", "author_text", "defer_text")
MAX_TEXT = 300
"""Longest text of a reply, in characters, before placeholders are filled in."""
MAX_TAG = 44
"""Bytes of the subject tag: with a space they fit into one encoded-word of 75 characters (RFC 2047 2)."""
MAX_VALUE = 200
"""Longest value of the quarantine header field, in characters."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")


def problem(policy: PolicySection, quarantine: QuarantineSection) -> str:
    """The first problem, in one sentence that begins with the key; empty: none."""
    problems = [_of_text(key, getattr(policy, key), policy.info_url) for key in TEXTS]
    problems += [_of_page(policy.info_url), _of_mark(quarantine), _of_tag(quarantine.subject_tag)]
    problems.append(_of_mailbox(quarantine.mailbox, policy.quarantine_action))
    return next(filter(None, problems), "")


def _of_text(key: str, text: str, info_url: str) -> str:
    wrong = _of_line(text, PLACEHOLDERS)
    if not wrong and not text.strip():
        wrong = "must say something"
    longest = len(_PLACEHOLDER.sub("", text + SEE)) + len(_PLACEHOLDER.sub("", info_url)) + MAX_QUEUE_ID
    if not wrong and longest > MAX_REPLY:
        wrong = f"too long together with info_url: an answer has {MAX_REPLY} characters (RFC 5321 4.5.3.1.5)"
    return f"[policy] {key}: {wrong}" if wrong else ""


def _of_page(info_url: str) -> str:
    wrong = _of_line(info_url, PAGE_PLACEHOLDERS)
    if not wrong and " " in info_url:
        wrong = "no spaces"
    return f"[policy] info_url: {wrong}" if wrong else ""


def _of_line(text: str, placeholders: tuple[str, ...]) -> str:
    if not (text.isascii() and text.isprintable()):
        return "one line of ASCII text"
    if len(text) > MAX_TEXT:
        return f"at most {MAX_TEXT} characters"
    unknown = [name for name in _PLACEHOLDER.findall(text) if name not in placeholders]
    return f"unknown placeholder {unknown}; known are {', '.join(placeholders)}" if unknown else ""


def _of_mark(quarantine: QuarantineSection) -> str:
    name, value = quarantine.header_name, quarantine.header_value
    if not re.fullmatch(r"X-[A-Za-z0-9-]{1,60}", name):
        return f"[quarantine] header_name: {name!r} is not X- with letters, digits and hyphens"
    if name.lower().startswith("x-spam"):
        # With such a name this filter would remove the marks of the spam filter.
        return "[quarantine] header_name: X-Spam fields are a spam filter's; incoming fields of this name are removed"
    if not (value.isascii() and value.isprintable() and value.strip() == value and 0 < len(value) <= MAX_VALUE):
        return f"[quarantine] header_value: 1 to {MAX_VALUE} characters of printable ASCII, no space around them"
    return ""


def _of_tag(tag: str) -> str:
    """The tag must not look like an encoded-word or contain characters that reverse the direction of the subject."""
    if not (tag.isprintable() and tag and tag.strip() == tag):
        return "[quarantine] subject_tag: printable characters, no space around them"
    if "=?" in tag:
        return "[quarantine] subject_tag: write it as text; it is encoded where that is needed"
    if len(tag.encode()) > MAX_TAG:
        return f"[quarantine] subject_tag: at most {MAX_TAG} bytes of UTF-8"
    return ""


def _of_mailbox(mailbox: str, method: QuarantineAction) -> str:
    if not mailbox and method is QuarantineAction.REDIRECT:
        return '[quarantine] mailbox: quarantine_action = "redirect" needs the address of the quarantine mailbox'
    local, _, domain = mailbox.rpartition("@")
    if mailbox and not (_LOCAL_PART.fullmatch(local) and domains.parse(domain)):
        return f"[quarantine] mailbox: {mailbox!r} is not an address"
    return ""

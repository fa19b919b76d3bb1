import grp
import os

import pytest

from dmarcmilter import advice, config

QUIET = """
[milter]
socket = "inet:8893@127.0.0.1"
[history]
journal = "{journal}"
"""


@pytest.fixture(autouse=True)
def _no_postfix(monkeypatch, tmp_path):
    monkeypatch.setattr(advice, "POSTFIX_QUEUE", str(tmp_path / "nowhere"))


def advised(text, tmp_path):
    merged = QUIET.format(journal=tmp_path / "journal")
    for section, keys in config.tomllib.loads(text).items():
        for key, value in keys.items():
            line = f"{key} = {config.msgspec.json.encode(value).decode()}\n"
            if f"[{section}]\n{key} " in merged:
                before, after = merged.split(f"[{section}]\n", 1)
                merged = before + f"[{section}]\n" + line + after.partition("\n")[2]
            elif f"[{section}]\n" in merged:
                merged = merged.replace(f"[{section}]\n", f"[{section}]\n{line}")
            else:
                merged += f"[{section}]\n{line}"
    return advice.advise(config.parse(merged))


def test_defaults_are_quiet(tmp_path):
    assert advised("", tmp_path) == []


CASES = {
    "monitor": ('policy = { mode = "monitor" }', ["mode is", "no policy is enforced"]),
    "reject none": ('policy = { reject_action = "none" }', ["reject_action", "delivered"]),
    "quarantine none": ('policy = { quarantine_action = "none" }', ["quarantine_action", "unmarked"]),
    "reject becomes nothing": (
        'policy = { quarantine_action = "none", reject_action = "quarantine" }',
        ["quarantine_action", 'reject_action is "quarantine"'],
    ),
    "missing": ('author = { on_missing = "accept" }', ["[author] on_missing"]),
    "multiple": ('author = { on_multiple = "accept" }', ["[author] on_multiple"]),
    "malformed": ('author = { on_malformed = "accept" }', ["[author] on_malformed"]),
    "psl": ('dmarc = { psl_file = "/nowhere/list.dat" }', ["psl_file", "/nowhere/list.dat"]),
    "private socket": ('milter = { socket = "unix:/run/f.sock", socket_mode = "0600" }', ["nobody but"]),
    "group": ('milter = { socket = "unix:/run/f.sock", socket_group = "no-such" }', ["no group 'no-such'"]),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES)
def test_warning(text, words, tmp_path):
    said = "\n".join(advised(text, tmp_path))
    assert said
    assert all(word in said for word in words)


def test_most_harmful_first(tmp_path):
    said = advised('policy = { mode = "monitor" }\nauthor = { on_missing = "accept" }', tmp_path)
    assert [sentence.split()[0] for sentence in said] == ["[policy]", "[author]"]


def test_a_socket_outside_of_the_chroot(tmp_path, monkeypatch):
    monkeypatch.setattr(advice, "POSTFIX_QUEUE", str(tmp_path))
    outside = advised('milter = { socket = "unix:/run/f.sock" }', tmp_path)
    assert len(outside) == 1
    assert "chroot" in outside[0]
    assert advised(f'milter = {{ socket = "unix:{tmp_path}/f.sock" }}', tmp_path) == []
    assert len(advised(f'milter = {{ socket = "unix:{tmp_path}x/f.sock" }}', tmp_path)) == 1


@pytest.mark.parametrize("mode", ["0660", "0606", "0622"])
def test_a_socket_that_others_can_write_to(mode, tmp_path):
    assert advised(f'milter = {{ socket = "unix:/run/f.sock", socket_mode = "{mode}" }}', tmp_path) == []


def test_a_group_that_exists(tmp_path):
    group = grp.getgrall()[0].gr_name
    assert advised(f'milter = {{ socket = "unix:/run/f.sock", socket_group = "{group}" }}', tmp_path) == []


def test_a_journal_that_cannot_be_written(tmp_path, monkeypatch):
    """The nearest folder that exists decides; one that may not be entered is no reason to fail."""
    monkeypatch.setattr(advice.os, "access", lambda path, mode: str(path) in {"/", "/var"} and mode == os.F_OK)
    (said,) = advised('history = { journal = "/var/lib/f/journal" }', tmp_path)
    assert said.startswith("[history] journal: /var is not writable")

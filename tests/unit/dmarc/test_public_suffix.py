import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc import public_suffix
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.mail.domain import Domain, is_within, labels
from tests.support.cases import case_table

CASES = case_table("organizational")
LIST = Suffixes.of_text(CASES["list"])


@pytest.mark.parametrize("row", CASES["row"], ids=lambda row: row["name"])
def test_organizational_domain(row):
    assert LIST.organizational_domain(row["domain"]) == row.get("organizational")
    assert LIST.is_icann_suffix(row["domain"]) is row.get("icann", False)


def test_named_file(tmp_path):
    file = tmp_path / "list.dat"
    file.write_text(CASES["list"], encoding="utf-8")
    loaded = Suffixes.load(str(file))
    assert (loaded.source, loaded.version, loaded.skipped) == (str(file), "2026-01-02", ())
    assert loaded.organizational_domain(Domain("a.b.test")) == "b.test"


def test_date_of_the_file_when_the_list_has_none(tmp_path):
    file = tmp_path / "list.dat"
    file.write_text("com\n")
    os.utime(file, (1_600_000_000, 1_600_000_000))
    assert Suffixes.load(str(file)).version == "2020-09-13"


def test_lines_that_are_no_rules_are_left_out_and_told(tmp_path):
    file = tmp_path / "list.dat"
    file.write_bytes(b"com\n<!DOCTYPE html>\n.net\na..b\n\xff\xfe\norg\n" + b"x" * 64 + b"\n")
    loaded = Suffixes.load(str(file))
    assert loaded.all_rules.exact == {"com", "org"}
    assert "5 lines" in loaded.skipped[0]


@pytest.mark.parametrize("content", [None, b"", b"// only a comment\n", b"\x00" * 100])
def test_a_file_that_is_no_list_is_refused_in_plain_words(tmp_path, content):
    file = tmp_path / "list.dat"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SuffixListError, match=str(file)):
        Suffixes.load(str(file))


def test_a_file_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(public_suffix, "MAX_FILE", 100)
    file = tmp_path / "list.dat"
    file.write_text("com\n" * 100)
    with pytest.raises(SuffixListError, match="larger"):
        Suffixes.load(str(file))


def full_list(version):
    return f"// VERSION: {version}\n" + "".join(f"tld{number}\n" for number in range(public_suffix.MIN_RULES))


def test_newest_of_the_files_found(tmp_path, monkeypatch):
    older, newer = tmp_path / "older.dat", tmp_path / "newer.dat"
    older.write_text(full_list("2999-01-01"))
    newer.write_text(full_list("2999-12-31"))
    monkeypatch.setattr(public_suffix, "OPERATOR_LIST", str(older))
    monkeypatch.setattr(public_suffix, "SYSTEM_LIST", str(newer))
    assert Suffixes.load().source == str(newer)


def test_a_truncated_list_is_skipped_for_the_next(tmp_path, monkeypatch):
    cut, whole = tmp_path / "cut.dat", tmp_path / "whole.dat"
    cut.write_text(full_list("2999-12-31")[:2000])
    whole.write_text(full_list("2999-01-01"))
    monkeypatch.setattr(public_suffix, "OPERATOR_LIST", str(cut))
    monkeypatch.setattr(public_suffix, "SYSTEM_LIST", str(whole))
    loaded = Suffixes.load()
    assert loaded.source == str(whole)
    assert str(cut) in loaded.skipped[0]


def test_bundled_lists_when_the_system_has_none(monkeypatch):
    monkeypatch.setattr(public_suffix, "OPERATOR_LIST", "/nonexistent/list")
    monkeypatch.setattr(public_suffix, "SYSTEM_LIST", "/nonexistent/list")
    loaded = Suffixes.load()
    assert loaded.version >= "2022"
    assert loaded.organizational_domain(Domain("www.example.co.uk")) == "example.co.uk"
    monkeypatch.setattr(public_suffix.publicsuffixlist, "__file__", "/nonexistent/__init__.py")
    last_resort = Suffixes.load()
    assert last_resort.source == public_suffix.publicsuffix2.PSL_FILE
    assert last_resort.version == ""
    assert last_resort.is_icann_suffix(Domain("com"))


def test_agrees_with_publicsuffixlist():
    ours = Suffixes.load()
    with Path(ours.source).open("rb") as lines:
        theirs = public_suffix.publicsuffixlist.PublicSuffixList(lines)
    for rule in sorted(ours.all_rules.exact | ours.all_rules.exceptions)[::7]:
        for name in (rule, "y." + rule, "x.y." + rule):
            # They take the bare parent of a wildcard for a suffix; the algorithm does not.
            if name not in ours.all_rules.wildcards:
                assert ours.organizational_domain(Domain(name)) == theirs.privatesuffix(name), name


NAMES = st.lists(
    st.sampled_from(["com", "uk", "co", "kawasaki", "jp", "city", "ck", "www", "a", "io", "github"]),
    min_size=1,
    max_size=8,
).map(lambda parts: Domain(".".join(parts)))


@given(NAMES)
@settings(max_examples=200, deadline=None)
def test_the_organizational_domain_is_the_name_or_above(domain):
    own = LIST.organizational_domain(domain)
    assert own is None or (is_within(domain, own) and LIST.organizational_domain(own) == own)
    assert len(labels(domain)) > 1 or LIST.is_icann_suffix(domain)

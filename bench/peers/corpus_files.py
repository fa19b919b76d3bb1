"""The corpus as files: made once, then kept in a folder for the load generator, the name server and the comparison."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

from bench.peers.corpus import Corpus, Expected
from bench.peers.organizations import Records
from dmarcmilter.value import Value

HERE = Path(__file__).parent
GENERATORS = ("corpus.py", "corpus_files.py", "message_text.py", "organizations.py", "signing_keys.py")
"""Modules that decide what is in the corpus: another version of them makes another one."""
CHARACTER_STRING = 255
"""Most bytes of one string of a TXT record (RFC 1035 3.3)."""


class StoredCorpus(Value):
    folder: Path
    count: int

    @property
    def zone(self) -> Path:
        """A root zone with all names of the corpus, in the master file format (RFC 1035 5)."""
        return self.folder / "zone"

    def expected(self) -> list[Expected]:
        """By position."""
        lines = (self.folder / "expected").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Expected) for line in lines]


def stored(cache: Path, seed: str, count: int) -> StoredCorpus:
    """The corpus of this seed and size from the cache; if it is not there, it is made first."""
    version = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in GENERATORS)).hexdigest()[:12]
    folder = cache / f"corpus-{seed}-{count}-{version}"
    if not folder.is_dir():
        for outdated in cache.glob("corpus-*"):
            shutil.rmtree(outdated)
        partial = cache / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(Corpus(seed), count, partial)
        partial.rename(folder)
    return StoredCorpus(folder, count)


def write(corpus: Corpus, count: int, folder: Path) -> None:
    offset = 0
    with (
        (folder / "messages").open("wb") as messages,
        (folder / "envelopes").open("w", encoding="ascii") as envelopes,
        (folder / "expected").open("wb") as expected,
    ):
        for message in corpus.messages(count):
            messages.write(message.raw)
            paths = [f"<{address}>" for address in (message.mail_from, *message.rcpts)]
            columns = [offset, len(message.raw), message.address, message.client_name, message.helo, *paths]
            envelopes.write("\t".join(map(str, columns)) + "\n")
            expected.write(msgspec.json.encode(message.expected) + b"\n")
            offset += len(message.raw)
    (folder / "zone").write_text(zone_file(corpus.records), encoding="ascii")


def zone_file(records: Records) -> str:
    lines = [
        ". 3600 IN SOA ns.root-servers.example. hostmaster.example. 1 3600 900 604800 300",
        ". 3600 IN NS ns.root-servers.example.",
        "ns.root-servers.example. 3600 IN A 127.0.0.1",
    ]
    lines += [
        f"{name}. 3600 IN {rdtype} {_rdata(rdtype, data)}"
        for name, by_type in records.items()
        for rdtype, items in by_type.items()
        for data in items
    ]
    return "\n".join([*lines, ""])


def _rdata(rdtype: str, data: Any) -> str:
    if rdtype == "TXT":
        # The texts hold no quotation mark and no backslash, so JSON writes a string as a zone file does.
        return " ".join(json.dumps(data[at : at + CHARACTER_STRING]) for at in range(0, len(data), CHARACTER_STRING))
    if rdtype == "MX":
        return f"{data[0]} {data[1]}."
    return str(data)

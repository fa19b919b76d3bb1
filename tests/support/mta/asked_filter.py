"""A filter that does what the message asks for: proves the MTA side of the tests before it judges the real filter.

usage: asked_filter.py SOCKET [exact]

Each `X-Ask` field is one request, carried out at the end of the message in their order, for example
`insert 0 X-New value`, `delete 2 X-Old`, `quarantine why`, `reply 550 5.7.1 text`, `reject`. What the filter saw
of the message is added as `X-Saw`. `exact`: leading space of header values is negotiated.
"""

import hashlib
import os
import sys

import Milter

ANSWERS = {"reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL, "discard": Milter.DISCARD, "accept": Milter.ACCEPT}


class AskedFilter(Milter.Base):
    def connect(self, name, family, address):
        self.seen = [name, address[0] if address else None]
        return Milter.CONTINUE

    def hello(self, name):
        self.seen.append(name)
        return Milter.REJECT if name.startswith("refused") else Milter.CONTINUE

    @Milter.decode("bytes")
    def envfrom(self, path, *arguments):
        self.session = [*self.seen, path, *arguments]
        self.digest, self.asked = hashlib.sha256(), []
        word = path.strip(b"<>").split(b"@")[0].decode("latin-1")
        return ANSWERS.get(word, Milter.CONTINUE)

    @Milter.decode("bytes")
    def envrcpt(self, path, *arguments):
        self.session.append(path)
        return Milter.REJECT if path.startswith(b"<refused") else Milter.CONTINUE

    @Milter.decode("bytes")
    def header(self, name, value):
        self.digest.update(name.encode() + b"\0" + value + b"\0")
        if name == "X-Ask":
            self.asked.append(value.decode("latin-1").split())
        return Milter.CONTINUE

    def eoh(self):
        self.digest.update(b"\0")
        return Milter.CONTINUE

    def body(self, chunk):
        self.digest.update(chunk)
        return Milter.CONTINUE

    def eom(self):
        self.addheader("X-Saw", f" {self.digest.hexdigest()} {self.session!r} {self.getsymval('i')}")
        answers = [self.carry_out(*request) for request in self.asked]
        return next((answer for answer in answers if answer is not None), Milter.ACCEPT)

    def carry_out(self, verb, *words):
        if verb == "insert":
            self.addheader(words[1], " " + " ".join(words[2:]).replace("|", "\n\t"), int(words[0]))
        elif verb == "add":
            self.addheader(words[0], " " + " ".join(words[1:]))
        elif verb == "change":
            self.chgheader(words[1], int(words[0]), " " + " ".join(words[2:]))
        elif verb == "delete":
            self.chgheader(words[1], int(words[0]), "")
        elif verb == "quarantine":
            self.quarantine(" ".join(words))
        elif verb == "reply":
            self.setreply(words[0], words[1], " ".join(words[2:]))
            return Milter.REJECT if words[0][0] == "5" else Milter.TEMPFAIL
        return ANSWERS.get(verb)


if __name__ == "__main__":
    os.umask(0)  # the MTA runs as another user
    Milter.factory = Milter.header_leading_space(AskedFilter) if "exact" in sys.argv else AskedFilter
    Milter.set_flags(Milter.ADDHDRS | Milter.CHGHDRS | Milter.QUARANTINE)
    Milter.runmilter("askedfilter", sys.argv[1], 60)

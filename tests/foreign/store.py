"""What servers have stored: reading it back as the octets that Gatepost was given."""

import os
import re

from known import RECIPIENTS

# Those that the clients write to; smtp-source makes up names of its own.
MAILBOXES = [each.partition("@")[0] for each in RECIPIENTS] + ["b", "2b", "3b", "4b", "5b"]
OURS = re.compile(rb"^Received: from [^\n]*\n(?:[ \t][^\n]*\n)*", re.M)


def relayed(stored):
    """What comes behind the one line that Gatepost has put in front, with CRLF line ends."""
    text = stored.replace(b"\r\n", b"\n")
    for field in OURS.finditer(text):
        if b"by relay.test with " in field[0]:
            return text[field.end() :].replace(b"\n", b"\r\n")
    raise AssertionError(f"Gatepost's Received line is not there: {text[:400]!r}")


def needs_root(program):
    if os.geteuid() != 0:
        raise AssertionError(f"{program} drops the rights of root, and has to have them first")


class Maildirs:
    """For servers that deliver into Maildir folders, one a recipient, below `mail`."""

    def stored(self):
        """Messages by recipient."""
        found = {}
        for path in sorted((self.directory / "mail").glob("*/new/*")):
            found.setdefault(path.parts[-3], []).append(relayed(path.read_bytes()))
        return found

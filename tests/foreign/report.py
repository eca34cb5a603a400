"""What the checks have found, for people and for programs: a table, a page and a JSON file."""

import json
import re
import subprocess

from servers import SERVER_VERSIONS

COLUMNS = ["plain", "STARTTLS", "implicit TLS", "AUTH PLAIN", "AUTH LOGIN", "BDAT", "faults"]
OTHER_VERSIONS = {
    "HAProxy": ["haproxy", "-v"],
    "sslscan": ["sslscan", "--version", "--no-colour"],
    "openssl": ["openssl", "version"],
    "promtool": ["promtool", "--version"],
}
PAGE = """# Interoperability

Which programs Gatepost has been tried with, in which version, and what was found. This page is written by
`make foreign-long` and copied from `target/foreign/interoperability.md`; the checks are in
[tests/foreign](../tests/foreign), and a part of them runs for every change.

A message whose every octet is known goes from the client through Gatepost to the upstream, to several recipients:
8-bit text, lines that begin with dots, lines of 998, 5,000 and 20,000 octets, blanks at line ends, an attachment of
205 KB. What the upstream has stored, behind the one `Received` line of Gatepost, is compared octet by octet with
what the client meant to send. A cell counts the checks that went well, of all that were made; each is against one
upstream. In *faults* the upstream refuses, hangs up, or is killed, and the client must see it and hear the right code.
"""
REMARKS = """
## Worth knowing

- HAProxy's health checks of a listener with implicit TLS need `check-ssl`, or it takes the server out of service.
- smtpping knows no transparency: with DATA, a line of its own that is a dot ends the message. With `-C` it says
  HELO before BDAT, sends the message without waiting for the reply to it, and ends with 0 whatever it is told.
  Exim refuses BDAT behind HELO.
- PHPMailer, lettre, swaks and `smtp-source -F` put an empty line behind the message. It comes from them: the same
  octets arrive without Gatepost between.
- aiosmtpd refuses a line of more than 1,001 octets with `500`, unless it is told otherwise. A client of Gatepost then
  hears `451 4.3.5`, since a 500 is a fault of the set-up.
- `smtp-sink -W MAIL:n` answers the command behind MAIL first unless it is told `-p`, and `smtp-sink -M n` ends before
  it answers the last message.
"""


def versions(senders):
    """The version of every program, by name; a program that is not there ends the run."""
    commands = {sender.name: sender.version for sender in senders}
    commands |= SERVER_VERSIONS | OTHER_VERSIONS
    return {name: version(command) for name, command in commands.items()}


def version(command):
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, errors="replace"
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.stdout + told.stderr)
    if told.returncode not in (0, 2) or not (found := re.search(r"\d+(?:\.\d+)+\w*", strip_date(text))):
        raise SystemExit(f"no version from {' '.join(map(str, command))}: {text[-300:]}")
    return found[0]


def strip_date(text):
    # Exim begins with the time at which it warns.
    return re.sub(r"^\d{4}-\d\d-\d\d .*$", "", text, flags=re.M)


def cells(results):
    """(passed, all) by client and column, and by upstream and column."""
    clients, upstreams = {}, {}
    for result in results:
        if cell := result["cell"]:
            client, column, upstream = cell
            for table, row in [(clients, client), (upstreams, upstream)]:
                passed, count = table.setdefault(row, {}).get(column, (0, 0))
                table[row][column] = (passed + (result["result"] == "ok"), count + 1)
    return clients, upstreams


def rows(table, told, versions_known):
    """A Markdown table; a dash where a program cannot, or nothing was tried."""
    lines = [f"| {told} | version | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, found in table.items():
        words = [word(found.get(column)) for column in COLUMNS]
        lines.append(f"| {name} | {versions_known.get(name, '')} | {' | '.join(words)} |")
    return lines


def word(counts):
    return f"{counts[0]}/{counts[1]}" if counts else "–"


def tables(results, versions_known):
    clients, upstreams = cells(results)
    return (
        ["", "## Clients", "", *rows(clients, "client", versions_known)]
        + ["", "## Upstreams", ""]
        + ["`keeper` is a stand-in of the checks, which keeps the octets as they are on the wire.", ""]
        + rows(upstreams, "upstream", versions_known)
        + ["", "## Beside them", ""]
        + [f"- {name} {versions_known[name]}" for name in OTHER_VERSIONS]
        + [""]
        + [f"- {result['check']}: {result['result']}" for result in results if not result["cell"]]
    )


def write(folder, results, versions_known):
    folder.mkdir(parents=True, exist_ok=True)
    found = {"versions": versions_known, "checks": results}
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    page = PAGE + "\n".join(tables(results, versions_known)) + "\n" + REMARKS
    (folder / "interoperability.md").write_text(page)

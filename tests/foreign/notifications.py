#!/usr/bin/env python3
"""Notifications of Gatepost as Python's email package reads them: their form, and what they say.

Each NAME.eml has a NAME.json with what must be found in it. Prints a line for each, and ends with 1 if one
is not read as it was meant.

usage: tests/foreign/notifications.py FOLDER        (where the test `write_samples` of gatepost-relay has written)
"""

import email
import email.policy
import json
import pathlib
import re
import sys

LINE_OCTETS_MAX = 998
# What `write_samples` writes: what is not there has not been checked.
NAMES = ["delayed", "failed", "hostile", "international", "relayed"]
REPORT = {"message/delivery-status", "message/global-delivery-status"}
# Python knows the content of delivery-status, and takes that of the others for octets.
POLICY = email.policy.default.clone(utf8=True)


def expect(what, found, wanted):
    assert found == wanted, f"{what} is {found!r} and not {wanted!r}"


def octets(part):
    """What a part holds, as text, with LF between the lines."""
    if part.get_content_type() == "message/rfc822":
        return part.get_payload(0).as_bytes(policy=POLICY).decode()
    if part.is_multipart():
        return "\n".join(it.as_bytes(policy=POLICY).decode() for it in part.get_payload())
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")


def groups(part):
    """The fields of RFC 3464: of the message, and of each recipient."""
    if part.get_content_type() == "message/delivery-status":
        return part.get_payload()
    texts = re.split(r"\n\n", octets(part).strip("\n"))
    return [email.message_from_string(text + "\n\n", policy=POLICY) for text in texts]


def fields(found, wanted, what):
    for name, value in wanted.items():
        values = [str(it) for it in found.get_all(name, [])]
        expect(f"{name} of {what}", [re.sub(r"\r?\n ", " ", it) for it in values], [value])


def lines(content):
    assert content.endswith(b"\r\n"), "it has no end"
    for line in content[:-2].split(b"\r\n"):
        assert b"\r" not in line and b"\n" not in line, f"a bare CR or LF: {line!r}"
        assert len(line) <= LINE_OCTETS_MAX, f"a line of {len(line)} octets"


def judge(content, wanted):
    lines(content)
    message = email.message_from_bytes(content, policy=POLICY)
    expect("defects", [str(it) for part in message.walk() for it in part.defects], [])
    expect("Content-Type", message.get_content_type(), "multipart/report")
    expect("report-type", message.get_param("report-type"), "delivery-status")
    raw = dict(message.raw_items())
    expect("the fields, each once", len(raw), len(list(message.raw_items())))
    expect("Bcc", message["Bcc"], None)
    expect("Subject", message["Subject"], wanted["subject"])
    # As it stands: Python's reader of addresses would mend what is none.
    to = str(raw["To"]).encode(errors="surrogateescape").decode()
    expect("To", to.strip(), wanted["to"])
    expect("From", message["From"].addresses[0].addr_spec, "MAILER-DAEMON@relay.example.com")
    expect("Auto-Submitted", message["Auto-Submitted"], "auto-replied")
    expect("MIME-Version", message["MIME-Version"], "1.0")
    expect("In-Reply-To", message["In-Reply-To"], wanted["in_reply_to"])
    assert message["Date"].datetime and message["Message-ID"]

    parts = message.get_payload()
    expect("parts", [part.get_content_type() for part in parts], wanted["parts"])
    people = re.sub(r"\s+", " ", parts[0].get_content())
    for said in wanted["says"]:
        assert said in people, f"{said!r} is not said"
    assert parts[1].get_content_type() in REPORT
    about, *recipients = groups(parts[1])
    fields(about, wanted["message"], "the message")
    expect("recipients", len(recipients), len(wanted["recipients"]))
    for found, expected in zip(recipients, wanted["recipients"]):
        fields(found, expected, expected["Final-Recipient"])
    for line in wanted["original"]:
        text = octets(parts[2]).replace("\r\n", "\n")
        assert line in text, f"{line!r} does not come back"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    expect("what was written", sorted(file.stem for file in folder.glob("*.eml")), NAMES)
    failed = 0
    for name in NAMES:
        wanted = json.loads((folder / f"{name}.json").read_bytes())
        try:
            judge((folder / f"{name}.eml").read_bytes(), wanted)
            print(f"ok   {name}")
        except AssertionError as fault:
            failed += 1
            print(f"FAIL {name}: {fault}")
    print(f"{len(NAMES)} notifications, {failed} faults, Python {sys.version.split()[0]}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

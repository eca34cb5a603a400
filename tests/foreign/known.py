"""A message whose every octet is known: 8-bit text, dots, long lines, blanks at line ends, and an attachment
of some 200 KB."""

import base64
import random

SENDER = "a@app.test"
RECIPIENTS = [f"b{number}@example.net" for number in range(5)]
USER, PASSWORD = "crm", "open sesame"
# The hash of PASSWORD, made by the reference program with little memory: the checks have no need of more.
PASSWORD_HASH = (
    "$argon2id$v=19$m=16384,t=2,p=1$Z2F0ZXBvc3RzYWx0$eVXwlNCt+J8xWHrqHeQO4nUb/YUbXwOlus7FLI8KulM"
)
ATTACHMENT_OCTETS = 150_000  # 205 KB in base64

HEADER = [
    b"From: App <a@app.test>",
    b"To: b0@example.net",
    "Subject: gr\u00fc\u00dfe, octet for octet".encode(),
    b"Date: Thu, 01 Jan 2026 00:00:00 +0000",
    b"Message-ID: <known@app.test>",
    b"MIME-Version: 1.0",
    b'Content-Type: multipart/mixed; boundary="=known="',
]
TEXT = [
    b".",
    b"..",
    b".a dot in front",
    b"..two dots in front",
    b"-- ",
    b"From the start of a line",
    "gr\u00fc\u00dfe \u2713".encode(),
    bytes(range(0x80, 0x100)),
    b"\ttabs and blanks \t ",
    # The longest line that RFC 5321 §4.5.3.1.6 allows, with and without a dot, and longer ones.
    b"x" * 998,
    b"." + b"y" * 997,
    b"z" * 5000,
    b"w" * 20_000,
    b"",
    b"",
    b".",
    b"",
]


def message():
    """The whole message, with CRLF line ends and the last of them."""
    attachment = base64.encodebytes(random.Random(1).randbytes(ATTACHMENT_OCTETS)).splitlines()
    lines = [
        *HEADER,
        b"",
        b"--=known=",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"",
        *TEXT,
        b"--=known=",
        b'Content-Type: application/octet-stream; name="known.bin"',
        b"Content-Transfer-Encoding: base64",
        b"",
        *attachment,
        b"--=known=--",
    ]
    return b"".join(line + b"\r\n" for line in lines)


MESSAGE = message()

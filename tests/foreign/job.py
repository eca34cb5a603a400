"""What a client is asked to do, and how it ends: the words that all files of the matrix share."""

import dataclasses
import os
import pathlib
import subprocess
import typing

from known import MESSAGE, RECIPIENTS

# Debian's own, which has what Debian packages for it.
PYTHON = "/usr/bin/python3"
SCRIPTS = pathlib.Path(__file__).parent / "senders"
SENDING_SECONDS = 60
PLAIN, STARTTLS, IMPLICIT = "none", "starttls", "implicit"
EVERY_TLS = (PLAIN, STARTTLS, IMPLICIT)


@dataclasses.dataclass
class Job:
    """What is to be sent, and to whom."""

    port: int
    tls: str
    ca: pathlib.Path
    directory: pathlib.Path
    mechanism: str = ""

    def file(self, newline=b"\r\n"):
        path = self.directory / "known"
        path.write_bytes(MESSAGE.replace(b"\r\n", newline))
        return path


@dataclasses.dataclass
class Sent:
    """How a client ended: 0 is what it says when all is well."""

    code: int
    told: str
    meant: bytes = MESSAGE
    recipients: list = dataclasses.field(default_factory=lambda: RECIPIENTS)


@dataclasses.dataclass(frozen=True)
class Sender:
    """One row of the matrix."""

    name: str
    program: str
    version: list
    send: typing.Callable[[Job], Sent]
    tls: tuple = EVERY_TLS
    mechanisms: tuple = ()
    listener: str = ""


def run(*arguments, stdin=None, environment=None):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        input=stdin or b"", capture_output=True, timeout=SENDING_SECONDS, check=False,
        env={**os.environ, **(environment or {})},
    )
    told = (done.stdout[-3000:] + done.stderr[-3000:]).decode(errors="replace")
    return done.returncode, told, done.stdout

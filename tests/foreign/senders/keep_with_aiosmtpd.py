#!/usr/bin/python3
"""aiosmtpd as an upstream that keeps every message in a file: its recipients in the first line, then
what came.

usage: keep_with_aiosmtpd.py PORT FOLDER
"""

import asyncio
import pathlib
import sys

from aiosmtpd.smtp import SMTP

PORT, FOLDER = int(sys.argv[1]), pathlib.Path(sys.argv[2])


class Keep:
    kept = 0

    async def handle_DATA(self, server, session, envelope):
        self.kept += 1
        path = FOLDER / f"{self.kept:04}.part"
        path.write_bytes(" ".join(envelope.rcpt_tos).encode() + b"\n" + envelope.original_content)
        path.rename(path.with_suffix(""))
        return "250 2.0.0 kept"


class Server(SMTP):
    # Its own limit is that of RFC 5321; a relay has to pass on what is longer.
    line_length_limit = 100_000


async def main():
    keep = Keep()
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Server(keep, enable_SMTPUTF8=True), "127.0.0.1", PORT)
    await asyncio.Event().wait()


asyncio.run(main())

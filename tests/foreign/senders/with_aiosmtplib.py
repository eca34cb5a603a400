#!/usr/bin/python3
"""Sends one message with aiosmtplib, exactly as the file has it.

usage: with_aiosmtplib.py PORT TLS CA MESSAGE SENDER RECIPIENT...
"""

import asyncio
import os
import pathlib
import sys

import aiosmtplib


async def main(port, tls, ca, message, sender, *recipients):
    client = aiosmtplib.SMTP(
        *["localhost", int(port)], local_hostname="app.test", timeout=20,
        use_tls=tls == "implicit", start_tls=False, cert_bundle=ca if tls == "implicit" else None,
    )
    await client.connect()
    if tls == "starttls":
        await client.starttls(cert_bundle=ca)
    if user := os.environ.get("SMTP_USER"):
        await client.ehlo()
        authenticate = getattr(client, "auth_" + os.environ["SMTP_MECHANISM"].lower())
        await authenticate(user, os.environ["SMTP_PASSWORD"])
    print(await client.sendmail(sender, list(recipients), pathlib.Path(message).read_bytes()))
    await client.quit()


asyncio.run(main(*sys.argv[1:]))

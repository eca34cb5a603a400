"""What clients are going to be checked with as soon as Gatepost offers it.

The checks are written, and not run while their extension stands in `NOT_YET`. One check sees to it that
nothing stays there when it is built: take the name out of the list then, and nothing else is to do."""

import smtplib
import ssl

from authentication import CONFIGURED, KNOWN_ONLY_BY_NAME
from job import STARTTLS
from world import Gatepost, Keeper

NOT_YET = ["CHUNKING", "AUTH"]


def nothing_is_forgotten(program):
    """what is not offered yet is not offered yet, and its checks wait"""
    offered = set()
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        with smtplib.SMTP("127.0.0.1", gatepost.port, "app.test", timeout=10) as client:
            client.ehlo()
            offered |= {name.upper() for name in client.esmtp_features}
        gatepost.stop()
    offered |= {"AUTH"} if authentication_is_built(program) else set()
    built = sorted(offered & set(NOT_YET))
    assert not built, f"Gatepost offers {', '.join(built)}: take it out of NOT_YET, its checks are written"


def authentication_is_built(program):
    """Whether a listener for clients with a password comes up and offers them AUTH."""
    try:
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, CONFIGURED, STARTTLS, KNOWN_ONLY_BY_NAME) as gatepost,
        ):
            context = ssl.create_default_context(cafile=gatepost.ca)
            with smtplib.SMTP("localhost", gatepost.port, "app.test", timeout=10) as client:
                client.starttls(context=context)
                client.ehlo()
                return "auth" in client.esmtp_features
    except AssertionError as error:
        if "not built yet" not in str(error):
            raise
        return False


CHECKS = [nothing_is_forgotten]

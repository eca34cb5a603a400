"""BDAT: clients that speak it (smtpping -C, Exim), and upstreams that do (Postfix, Exim) or do not.

smtpping says HELO and not EHLO before BDAT, and sends the chunk without waiting for a reply."""

from job import IMPLICIT, PLAIN, STARTTLS, Sender
from known import RECIPIENTS
from matrix import KEEPER, WORDS, octet_for_octet, sent_by
from senders import SENDERS, smtpping
from servers import SERVERS
from world import Gatepost, Keeper, same, wait_for

VERSION = ["smtpping", "--version"]
SMTPPING = Sender("smtpping -C", "smtpping", VERSION, smtpping("-C"), (PLAIN,))
EXIM = next(sender for sender in SENDERS if sender.name == "Exim")
# How a client that was asked to use BDAT tells that it did.
USED = {"smtpping -C": "", "Exim": " K "}


def to_upstream(sender, tls, name):
    """A check: the chunks of a client arrive octet for octet, as chunks where the upstream takes them."""

    def check(program):
        server = SERVERS[name]()
        with server, Gatepost(program, server.port, tls=tls) as gatepost:
            sent = sent_by(sender, gatepost)
            assert sent.code == 0, sent.told
            assert USED[sender.name] in sent.told, f"it has not used BDAT: {sent.told}"
            recipients = sorted(each.partition("@")[0] for each in sent.recipients)
            wait_for(f"{name} has stored it", lambda: sorted(server.stored()) == recipients)
            for recipient, messages in server.stored().items():
                same(f"messages of {recipient}", len(messages), 1)
                octet_for_octet(messages[0], sent.meant)
            gatepost.stop()
            if hasattr(server, "chunks"):
                wait_for(f"{name} has counted BDAT", server.chunks)

    return named(check, sender, tls, name)


def to_keeper(sender, tls):
    """A check: where the upstream has no CHUNKING, the chunks become DATA with its dots."""

    def check(program):
        with Keeper() as keeper, Gatepost(program, keeper.port, tls=tls) as gatepost:
            sent = sent_by(sender, gatepost)
            assert sent.code == 0, sent.told
            assert USED[sender.name] in sent.told, f"it has not used BDAT: {sent.told}"
            message = keeper.message()
            same("recipients", message.recipients, [f"<{each}>" for each in sent.recipients])
            octet_for_octet(message.without_trace(), sent.meant)
            gatepost.stop()

    return named(check, sender, tls, KEEPER)


def data_stays_data(program):
    """smtplib, to Postfix, which offers CHUNKING: DATA in is DATA out"""
    sender = next(each for each in SENDERS if each.name == "smtplib")
    with SERVERS["Postfix"]() as server, Gatepost(program, server.port) as gatepost:
        same("smtplib", sent_by(sender, gatepost).code, 0)
        gatepost.stop()
        wait_for("Postfix has stored it", lambda: len(server.stored()) == len(RECIPIENTS))
        wait_for("the session has ended", lambda: "disconnect from" in server.log())
        same("BDAT commands", server.chunks(), 0)


def named(check, sender, tls, upstream):
    check.__doc__ = f"{sender.name}, {WORDS[tls]}, BDAT to {upstream}: octet for octet"
    check.cell = (sender.program if sender is SMTPPING else sender.name, "BDAT", upstream)
    return check


def quick():
    """Each client, each kind of upstream."""
    to_servers = [to_upstream(EXIM, PLAIN, name) for name in ["Postfix", "Exim", "aiosmtpd"]]
    return [to_keeper(SMTPPING, PLAIN), to_keeper(EXIM, STARTTLS), *to_servers, data_stays_data]


def whole():
    """What the quick part leaves out."""
    rest = [to_upstream(SMTPPING, PLAIN, name) for name in ["Postfix", "Exim", "aiosmtpd"]]
    rest += [to_upstream(EXIM, tls, name) for tls in [STARTTLS, IMPLICIT] for name in ["Postfix", "Exim"]]
    return [to_keeper(EXIM, PLAIN), to_keeper(EXIM, IMPLICIT), *rest]

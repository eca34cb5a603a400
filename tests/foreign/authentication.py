"""Clients that are on no list and have a password, with each mechanism that they know."""

from job import IMPLICIT, STARTTLS
from known import PASSWORD, PASSWORD_HASH, USER
from matrix import WORDS, octet_for_octet, sent_by
from world import Gatepost, Keeper, same

CONFIGURED = 'unknown_clients = "authenticate"'
# The checks come from 127.0.0.1, which is not in it.
KNOWN_ONLY_BY_NAME = f"""
[[entry]]
id = "fleet"
networks = ["127.0.0.8"]
senders = ["app.test"]
[[credential]]
id = "legacy-crm"
username = "{USER}"
password_hash = "{PASSWORD_HASH}"
senders = ["app.test"]
"""


def with_password(sender, tls, mechanism):
    """A check: the right password lets a stranger send, as the credential allows."""

    def check(program):
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, CONFIGURED, tls, KNOWN_ONLY_BY_NAME) as gatepost,
        ):
            sent = sent_by(sender, gatepost, mechanism)
            assert sent.code == 0, sent.told
            message = keeper.message()
            same("recipients", message.recipients, [f"<{each}>" for each in sent.recipients])
            octet_for_octet(message.without_trace(), sent.meant)
            assert b"with ESMTPSA id" in message.content[:300], message.content[:300]
            assert PASSWORD not in gatepost.stderr.read_text(), "the password is in the log"
            gatepost.stop()

    check.__doc__ = f"{sender.name}, {WORDS[tls]}, AUTH {mechanism}: octet for octet"
    check.cell = (sender.name, f"AUTH {mechanism}", "keeper")
    return check


def without_password(sender, tls):
    """A check: a stranger who does not say who it is sends nothing, and sees that."""

    def check(program):
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, CONFIGURED, tls, KNOWN_ONLY_BY_NAME) as gatepost,
        ):
            sent = sent_by(sender, gatepost)
            assert sent.code != 0, f"it believes that its message was sent: {sent.told}"
            assert keeper.kept.empty(), "the upstream has heard of it"
            gatepost.stop()

    check.__doc__ = f"{sender.name}, {WORDS[tls]}, no AUTH: refused"
    return check


def wrong_password(sender, tls, mechanism):
    """A check: with the password of somebody else nothing is sent."""

    def check(program):
        policy = KNOWN_ONLY_BY_NAME.replace(f'username = "{USER}"', 'username = "somebody-else"')
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, CONFIGURED, tls, policy) as gatepost,
        ):
            sent = sent_by(sender, gatepost, mechanism)
            assert sent.code != 0, f"it believes that its message was sent: {sent.told}"
            assert keeper.kept.empty(), "the upstream has heard of it"
            gatepost.stop()

    check.__doc__ = f"{sender.name}, {WORDS[tls]}, AUTH {mechanism} with a user who is none: refused"
    return check


def quick(senders):
    """Each client and mechanism once, and the refusals of one client."""
    able = [sender for sender in senders if sender.mechanisms]
    accepted = [with_password(each, STARTTLS, name) for each in able for name in each.mechanisms]
    return [*accepted, wrong_password(able[0], STARTTLS, "PLAIN"), without_password(able[0], STARTTLS)]


def whole(senders):
    """What the quick part leaves out."""
    found = []
    for sender in (each for each in senders if each.mechanisms):
        found += [with_password(sender, IMPLICIT, mechanism) for mechanism in sender.mechanisms]
        found += [wrong_password(sender, IMPLICIT, mechanism) for mechanism in sender.mechanisms]
        found.append(without_password(sender, IMPLICIT))
    return found

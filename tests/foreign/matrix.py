"""Every client with every protection that it knows, and every upstream: one message whose octets are
known goes through Gatepost, and what the upstream has kept is what the client meant to send."""

import pathlib
import tempfile

from job import IMPLICIT, PLAIN, STARTTLS, Job
from senders import BEHIND_PROXY, PROXY, SENDERS
from servers import SERVERS
from world import Gatepost, HAProxy, Keeper, same, wait_for

KEEPER = "keeper"
# The clients that try each upstream in the quick part: one that waits for each reply, one that does not.
UPSTREAM_PROBES = ["smtplib", "swaks --pipeline"]
WORDS = {PLAIN: "plain", STARTTLS: "STARTTLS", IMPLICIT: "implicit TLS"}


def sent_by(sender, gatepost, mechanism="", port=None):
    """What became of one message in the hands of a client."""
    with tempfile.TemporaryDirectory(prefix="gatepost-foreign-") as folder:
        job = Job(port or gatepost.port, gatepost.tls, gatepost.ca, pathlib.Path(folder), mechanism)
        return sender.send(job)


def octet_for_octet(found, meant):
    if found != meant:
        at = next((i for i, (a, b) in enumerate(zip(found, meant)) if a != b), min(len(found), len(meant)))
        raise AssertionError(
            f"{len(found)} octets, not {len(meant)}; from octet {at} on"
            f" {found[at - 40 : at + 40]!r}, not {meant[at - 40 : at + 40]!r}"
        )


def to_keeper(sender, tls):
    """A check: a client and a protection, and an upstream that keeps every octet as it is on the wire."""

    def check(program):
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, sender.listener, tls) as gatepost,
        ):
            sent = sent_by(sender, gatepost)
            assert sent.code == 0, sent.told
            message = keeper.message()
            same("sender", message.sender, "<a@app.test>")
            same("recipients", message.recipients, [f"<{each}>" for each in sent.recipients])
            octet_for_octet(message.without_trace(), sent.meant)
            protocol = b"with ESMTP id" if tls == PLAIN else b"with ESMTPS id"
            assert protocol in message.content[:300], message.content[:300]
            assert keeper.kept.empty(), "more than one message has come"
            gatepost.stop()

    return named(check, sender.name, tls, KEEPER)


def to_server(sender, tls, name):
    """A check: a client, a protection, and an upstream that other people wrote."""

    def check(program):
        with (
            SERVERS[name]() as server,
            Gatepost(program, server.port, sender.listener, tls) as gatepost,
        ):
            sent = sent_by(sender, gatepost)
            assert sent.code == 0, f"{sent.told}\n{gatepost.told()}\n{server.told()}"
            recipients = sorted(each.partition("@")[0] for each in sent.recipients)
            wait_for(f"{name} has stored it", lambda: sorted(server.stored()) == recipients)
            for recipient, messages in server.stored().items():
                same(f"messages of {recipient}", len(messages), 1)
                octet_for_octet(messages[0], sent.meant)
            gatepost.stop()

    return named(check, sender.name, tls, name)


def straight(sender):
    """A check of the checks: without Gatepost between, a client sends what it is said to mean."""

    def check(_):
        with Keeper() as keeper, tempfile.TemporaryDirectory(prefix="gatepost-foreign-") as folder:
            sent = sender.send(Job(keeper.port, PLAIN, "", pathlib.Path(folder)))
            assert sent.code == 0, sent.told
            octet_for_octet(keeper.message().content, sent.meant)

    check.__doc__ = f"{sender.name}, without Gatepost: octet for octet"
    return check


def behind_haproxy(sender, tls):
    """A check: a client, a protection that goes through HAProxy as it is, and the client's own address."""
    # HAProxy's health checks have to speak TLS as well where the listener speaks nothing else.
    options = "send-proxy-v2" + (" check-ssl verify none" if tls == IMPLICIT else "")

    def check(program):
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, BEHIND_PROXY, tls) as gatepost,
            HAProxy(gatepost.port, PROXY, options) as proxy,
        ):
            sent = sent_by(sender, gatepost, port=proxy.port)
            assert sent.code == 0, sent.told
            message = keeper.message()
            assert b"[127.0.0.1]" in message.content[:300], message.content[:300]
            octet_for_octet(message.without_trace(), sent.meant)
            gatepost.stop()

    check.__doc__ = f"{sender.name}, {WORDS[tls]}, behind HAProxy: octet for octet"
    check.cell = ("HAProxy", WORDS[tls], KEEPER)
    return check


def named(check, client, tls, upstream):
    check.__doc__ = f"{client}, {WORDS[tls]}, to {upstream}: octet for octet"
    check.cell = (client, WORDS[tls], upstream)
    return check


def checks(senders, names):
    """The matrix of these clients, with all their protections, and these upstreams."""
    return [
        (to_keeper(sender, tls) if name == KEEPER else to_server(sender, tls, name))
        for name in names
        for sender in senders
        for tls in sender.tls
    ]


def quick():
    probes = [sender for sender in SENDERS if sender.name in UPSTREAM_PROBES]
    to_servers = [to_server(sender, PLAIN, name) for name in SERVERS for sender in probes]
    return [*checks(SENDERS, [KEEPER]), *to_servers]


def whole(senders):
    own = [sender for sender in senders if not sender.listener]
    return [
        *checks(senders, [KEEPER, *SERVERS]),
        *(straight(sender) for sender in own),
        *(behind_haproxy(sender, tls) for sender in own for tls in sender.tls),
    ]

#!/usr/bin/env python3
"""Gatepost's parser of networks beside Python's ipaddress, on texts that are almost networks.

What Gatepost accepts, Python must accept too, as the same network. What Python accepts, Gatepost
may refuse for the reasons of ON_PURPOSE only. Where it tells what to write instead, that must be
what Python makes of the text. Prints counts, and ends with 1 if the two disagree.

usage: tests/foreign/networks.py PROGRAM        (the example `networks` of gatepost-policy)
"""

import collections
import ipaddress
import re
import subprocess
import sys

sys.dont_write_bytecode = True
from networks_texts import texts  # noqa: E402

OFFENDERS_TOLD_MAX = 20

MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def length_of(text):
    return text.partition("/")[2]


def is_plain(text):
    return all("!" <= character <= "~" for character in text)


# Why Gatepost refuses what Python accepts: how that is seen in the text or in Python's network, and
# how the error begins.
ON_PURPOSE = {
    "a zone id": (lambda text, _: "%" in text and is_plain(text), "a zone id"),
    "a zone id that is not plain": (lambda text, _: "%" in text and not is_plain(text), "holds a space"),
    "a mask": (lambda text, network: length_of(text) == str(network.netmask), "a mask is"),
    "an inverted mask": (lambda text, network: length_of(text) == str(network.hostmask), "the prefix length"),
    "a leading zero in the length": (lambda text, _: re.search(r"/0\d+$", text), "a leading zero"),
    "everybody": (lambda _, network: network.prefixlen == 0, "covers every address"),
    "everybody, IPv4-mapped": (lambda _, network: network == MAPPED, "covers every address"),
    "IPv4-mapped": (lambda _, network: network.version == 6 and network.subnet_of(MAPPED), "IPv4-mapped"),
}


def python(text, strict=True):
    try:
        return ipaddress.ip_network(text, strict)
    except ValueError:
        return None


def purpose(text, network, reason):
    """The name of the reason for which Python's network is refused, if it is one of those."""
    for name, (is_seen, begins) in ON_PURPOSE.items():
        if is_seen(text, network) and reason.startswith(begins):
            return name
    return None


# What an error tells to write instead.
ADVICE = ["the network", "the one address", "the IPv4 form", "the length"]


def client(single):
    """A network of one address, as its client is known: mapped IPv4 is IPv4."""
    mapped = getattr(single.network_address, "ipv4_mapped", None)
    return python(str(mapped)) if mapped else single


def advice(text, reason):
    """Which advice an error gives, what Python makes of it, and what it makes of the text."""
    address, network = text.partition("/")[0], python(text, strict=False)
    if network is None:
        return
    if told := re.search(r"write (\S+) for the network or (\S+) for the one address$", reason):
        yield "the network", python(told[1]), network
        yield "the one address", python(told[2]), client(python(address))
    if told := re.search(r"known by their IPv4 address; write (\S+)/(\d+)$", reason):
        yield "the IPv4 form", python(f"::ffff:{told[1]}/{96 + int(told[2])}"), network
    if told := re.search(r"a mask is not accepted; write (/\d+)$", reason):
        yield "the length", python(address + told[1], strict=False), network


def judge(text, answer, counts):
    """What is wrong with an answer, or nothing."""
    verdict, _, said = answer.partition(" ")
    network = python(text)
    if verdict == "ok":
        counts["accepted by both"][f"IPv{network.version}" if network else "-"] += 1
        return None if str(network) == said else f"Python says {network}"
    if verdict != "no":
        return "neither ok nor no"
    if network is None:
        counts["refused by both, Gatepost's reason"][said.partition(";")[0]] += 1
    else:
        name = purpose(text, network, said)
        counts["refused by Gatepost on purpose"][name or "-"] += 1
        if name is None:
            return f"Python accepts {network}"
    given = list(advice(text, said))
    counts["advice of errors"].update(kind for kind, _, _ in given)
    return ", ".join(f"{kind} is {network} to Python" for kind, told, network in given if told != network)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asked = list(texts())
    told = subprocess.run(
        [sys.argv[1]], input="".join(f"{text}\n" for text in asked).encode(), check=True, stdout=subprocess.PIPE
    ).stdout.decode().removesuffix("\n").split("\n")
    assert len(told) == len(asked), f"{len(told)} answers to {len(asked)} texts"

    counts = collections.defaultdict(collections.Counter)
    verdicts = ((text, answer, judge(text, answer, counts)) for text, answer in zip(asked, told))
    faults = [f"{text!r}: {answer}: {fault}" for text, answer, fault in verdicts if fault]
    # What nothing showed has not been checked.
    for title, names in [("refused by Gatepost on purpose", ON_PURPOSE), ("advice of errors", ADVICE)]:
        faults += [f"{title}: no text showed {name}" for name in names if not counts[title][name]]
    for title, numbers in sorted(counts.items()):
        print(f"{title}: {numbers.total()}")
        for name, number in numbers.most_common():
            print(f"{number:8} {name}")
    print("\n".join(faults[:OFFENDERS_TOLD_MAX]), end="\n" if faults else "")
    print(f"{len(asked)} texts ({len(set(asked))} different), {len(faults)} disagreements, Python {sys.version.split()[0]}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""Texts that are almost networks: networks of both families, most of them spoilt once or twice.

No text has a newline in it. Each function takes the source of its random choices."""

import ipaddress
import random
import re

SEED = 20260601
TEXTS = 150_000


# Networks as they should be written, more or less.


def ipv4(source):
    """An address and the length of a network that it is the first of, as far as length goes."""
    length = source.choice([0, 1, 8, 12, 16, 24, 31, 32, source.randint(0, 32)])
    bits = source.getrandbits(32) >> 32 - length << 32 - length
    return str(ipaddress.IPv4Address(bits)), length


def ipv6(source):
    length = source.choice([0, 1, 32, 48, 64, 96, 104, 127, 128, source.randint(0, 128)])
    bits = source.getrandbits(128)
    for group in range(8):
        if source.random() < 0.5:
            bits &= ~(0xFFFF << 16 * group)
    address = ipaddress.IPv6Address(bits >> 128 - length << 128 - length)
    style = source.choice([str, lambda address: address.exploded, shortened])
    return style(address), length


def mapped(source):
    address, length = ipv4(source)
    groups = f"::ffff:{int(ipaddress.IPv4Address(address)):08x}"
    groups = f"{groups[:-4]}:{groups[-4:]}"
    return source.choice([f"::ffff:{address}", groups, f"0:0:0:0:0:FFFF:{address}"]), 96 + length


def shortened(address):
    """Any run of zeros may be left out, not only the longest, and IPv4 may end it."""
    groups = address.exploded.split(":")
    if groups[3] == "0000":
        groups[3] = ""
    if groups[6] != groups[7]:
        groups[6:] = [str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))]
    return re.sub(":{2,}", "::", ":".join(groups))


def written(source, address, length):
    return address if length in (32, 128) and source.random() < 0.5 else f"{address}/{length}"


# What people and programs do to them. Each takes a text and returns another, or the same if it has
# nothing to change.


def with_part(pattern):
    """Changes one of the parts that match."""

    def decorate(change):
        def changed(source, text):
            parts = list(re.finditer(pattern, text))
            if not parts:
                return text
            part = source.choice(parts)
            return text[: part.start()] + change(source, part[0]) + text[part.end() :]

        return changed

    return decorate


@with_part(r"[0-9a-fA-F]+")
def leading_zero(source, part):
    return "0" * source.randint(1, 3) + part


@with_part(r"(?<![:/\w])\d+(?=\.)|(?<=\.)\d+")
def hexadecimal(source, part):
    return source.choice([hex(int(part)), f"0X{int(part):02X}", f"0o{int(part):o}"])


@with_part(r"[0-9a-fA-F]+")
def overlong(source, part):
    return source.choice([part.rjust(5, "1"), part + "00000", "256", "10000", "fffff", "9" * 30])


@with_part(r"[0-9a-fA-F]+")
def empty_group(source, part):
    return ""


@with_part(r"::?|\.")
def separator(source, part):
    return source.choice([":", "::", ":::", ".", "..", ":0:", ":0::", "", ",", "-"])


@with_part(r"[0-9]")
def foreign_digit(source, part):
    # Arabic-Indic, Devanagari, fullwidth, superscript, mathematical.
    return source.choice([chr(zero + int(part)) for zero in (0x660, 0x966, 0xFF10, 0x1D7CE)] + ["²"])


@with_part(r"$|/")
def prefix_length(source, part):
    numbers = ["0", "1", "32", "33", "128", "129", "255", "256", "-1", "+8", "08", "008", "00", "0x8"]
    others = ["", " 8", "8 ", "1_6", "8.0", "1e1", "８", "²", "/8", "8/8", "4294967304", "a", "8%1", "8:25"]
    return "/" + source.choice(numbers + others) + part.replace("/", "")


def mask(source, text):
    address = text.split("/")[0]
    bits = 0xFFFFFFFF << source.randint(0, 32) & 0xFFFFFFFF
    bits = source.choice([bits, bits, ~bits & 0xFFFFFFFF, source.getrandbits(32)])
    masks = [str(ipaddress.IPv4Address(bits)), hex(bits), str(bits), "ffff:ffff::"]
    return f"{address}/{source.choice(masks[:1] * 5 + masks)}"


def network_of_mask(source, text):
    """A network with the mask that belongs to it."""
    network = ipaddress.ip_network("/".join(map(str, ipv4(source))))
    return source.choice([network.with_netmask, network.with_hostmask])


def other_length(source, text):
    """Mostly, bits are set behind it."""
    return f"{text.split('/')[0]}/{source.randint(0, 128 if ':' in text else 32)}"


def zone(source, text):
    address, slash, length = text.partition("/")
    return address + source.choice(["%eth0", "%1", "%", "%25eth0", "%a%b", "%é"]) + slash + length


def port(source, text):
    address, slash, length = text.partition("/")
    return source.choice([f"{text}:25", f"{address}:25{slash}{length}", f"[{address}]:25", f"{address}.25"])


def brackets(source, text):
    address, slash, length = text.partition("/")
    return source.choice([f"[{text}]", f"[{address}]{slash}{length}", f"[{address}", f"{address}]", f"<{text}>"])


def short_form(source, text):
    address, slash, length = text.partition("/")
    parts = address.split(".")
    if len(parts) != 4:
        return ":".join(address.split(":")[: source.randint(1, 7)]) + slash + length
    number = str(source.getrandbits(32))
    return source.choice([".".join(parts[: source.randint(1, 3)]), number, address + ".", "." + address]) + slash + length


def more_groups(source, text):
    address, slash, length = text.partition("/")
    return source.choice([f"{address}:1", f"1:{address}", f"{address}.1", f"{address}::"]) + slash + length


def space(source, text):
    at = source.randint(0, len(text))
    return text[:at] + source.choice([" ", "\t", "\r", "\0", "\v", "\xa0", "\u200b", "\ufeff"]) + text[at:]


def case(source, text):
    return source.choice([text.upper(), text.title(), text.swapcase()])


def garbage(source, text):
    characters = list(text)
    for _ in range(source.randint(1, 3)):
        at = source.randint(0, len(characters))
        characters[at : at + source.randint(0, 2)] = source.choices("0123456789abcdefFxX:.:./%[]-+_*, é\x7f", k=source.randint(0, 2))
    return "".join(characters)


NETWORKS = [ipv4, ipv4, ipv6, ipv6, mapped]
CHANGES = [
    *[leading_zero, hexadecimal, overlong, empty_group, separator, foreign_digit, prefix_length],
    *[mask, network_of_mask, other_length, zone, port, brackets, short_form, more_groups, space],
    *[case, garbage],
]


def texts():
    """The same texts each time."""
    source = random.Random(SEED)
    for _ in range(TEXTS):
        text = written(source, *source.choice(NETWORKS)(source))
        for change in source.choices(CHANGES, k=source.choice([0, 1, 1, 1, 2])):
            text = change(source, text)
        yield text

"""sslscan looks at the listeners: no weak protocol, cipher, key or renegotiation. And it looks at a
server that is weak on purpose, to show that the judge can say no."""

import concurrent.futures
import xml.etree.ElementTree

from job import IMPLICIT, STARTTLS
from world import Gatepost, Keeper, Program, call, certificates, free_port, same, wait_for

PROTOCOLS = {"TLSv1.2", "TLSv1.3"}
# TLS 1.2 without forward secrecy, without a MAC of its own in the cipher, or with a broken part.
WEAK_WORDS = ["RC4", "DES", "NULL", "EXP", "ADH", "AECDH", "anon", "MD5", "IDEA", "SEED", "CBC"]
AEAD_WORDS = ["GCM", "CHACHA20", "CCM"]
CIPHER_BITS_MIN, GROUP_BITS_MIN = 128, 112
KEY_BITS_MIN = {"RSA": 2048, "EC": 256}
SECONDS = "1"


def scan(port, *options):
    page = call(
        *["sslscan", "--xml=-", f"--timeout={SECONDS}", "--no-colour", "--sni-name=relay.test"],
        *[*options, f"127.0.0.1:{port}"],
    )
    # What it tells beside the document is not a part of it.
    page = page[page.index("<?xml") : page.index("</document>") + len("</document>")]
    return xml.etree.ElementTree.fromstring(page.encode()).find("ssltest")


def findings(test):
    """Everything that is weak, in words."""
    found = []
    for protocol in test.iter("protocol"):
        name = f"{protocol.get('type').upper()}v{protocol.get('version')}"
        if protocol.get("enabled") == "1" and name not in PROTOCOLS:
            found.append(f"{name} is enabled")
    for name, attribute, bad in [
        ("compression", "supported", "1"),
        ("heartbleed", "vulnerable", "1"),
    ]:
        for element in test.iter(name):
            if element.get(attribute) == bad:
                found.append(f"{name} {element.get('sslversion') or ''}")
    for renegotiation in test.iter("renegotiation"):
        if renegotiation.get("supported") == "1" and renegotiation.get("secure") != "1":
            found.append("renegotiation is insecure")
    for cipher in test.iter("cipher"):
        found += weak_cipher(cipher)
    for group in test.iter("group"):
        if int(group.get("bits")) < GROUP_BITS_MIN:
            found.append(f"group {group.get('name')}")
    for certificate in test.iter("certificate"):
        found += weak_certificate(certificate)
    return found


def weak_cipher(cipher):
    name, version = cipher.get("cipher"), cipher.get("sslversion")
    aead = any(word in name for word in AEAD_WORDS)
    weak = any(word in name for word in WEAK_WORDS) or int(cipher.get("bits")) < CIPHER_BITS_MIN
    secret = version == "TLSv1.3" or name.startswith(("ECDHE-", "DHE-"))
    bad = cipher.get("strength") in ("weak", "null", "anonymous", "medium")
    return [f"{version} {name}"] if weak or bad or not aead or not secret else []


def weak_certificate(certificate):
    found = []
    if "sha1" in certificate.findtext("signature-algorithm", "").lower():
        found.append("a signature with SHA-1")
    key = certificate.find("pk")
    kind, bits = key.get("type"), int(key.get("bits") or 0)
    if key.get("error") == "true" or bits < KEY_BITS_MIN.get(kind, 0):
        found.append(f"a key of {bits} bits, {kind}")
    return found


def strong_listeners(program):
    """sslscan: nothing weak on a listener with STARTTLS or implicit TLS"""

    def look(tls):
        options = ["--starttls-smtp"] if tls == STARTTLS else []
        with Keeper() as keeper, Gatepost(program, keeper.port, tls=tls) as gatepost:
            test = scan(gatepost.port, *options)
            gatepost.stop()
        same(f"{tls}: weak", findings(test), [])
        offered = {cipher.get("sslversion") for cipher in test.iter("cipher")}
        same(f"{tls}: versions with ciphers", offered, PROTOCOLS)
        # Each kind of finding had something to look at.
        for name in ["protocol", "renegotiation", "heartbleed", "group", "certificate"]:
            assert test.find(f".//{name}") is not None, f"{tls}: sslscan tells nothing of {name}"

    certificates()  # before both want them
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(look, [STARTTLS, IMPLICIT]))


class WeakServer(Program):
    """openssl s_server with everything that nobody should offer any more."""

    def run(self):
        self.port = free_port()
        self.start(
            *["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-quiet", "-tls1_1"],
            *["-cipher", "ALL:NULL:@SECLEVEL=0", "-cert", str(certificates() / "relay.pem")],
            *["-key", str(certificates() / "relay.key"), "-legacy_renegotiation"],
        )
        wait_for("openssl s_server listens", self.listens)


def weak_server_is_found(_):
    """sslscan: a server that is weak on purpose is found to be"""
    with WeakServer() as server:
        found = findings(scan(server.port))
    for word in ["TLSv1.1 is enabled", "NULL", "AES128-SHA"]:
        assert any(word in each for each in found), f"{word}: {found}"


CHECKS = [strong_listeners, weak_server_is_found]

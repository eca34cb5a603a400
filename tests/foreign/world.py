"""The programs of the checks against foreign peers: Gatepost itself, Postfix's smtp-sink, HAProxy, and
a sink that keeps every octet. Each is a context manager; what it started ends with its block. All
of them listen on loopback only."""

import atexit
import dataclasses
import functools
import http.client
import json
import os
import pathlib
import queue
import random
import re
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

START_SECONDS = 10
STOP_SECONDS = 15
# Above those of services that a machine may have.
PORT_MIN, PORT_MAX = 15_000, 65_536

CONFIG = """
hostname = "relay.test"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "none"
{listener}
[[upstream]]
name = "sink"
hosts = ["127.0.0.1:{upstream}"]
tls = "none"
{upstream_lines}
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
{delivery}
[log]
format = "json"
mail = "mail.jsonl"
[timeouts]
drain = "5s"
[metrics]
bind = "127.0.0.1:0"
"""

POLICY = """
[[entry]]
id = "fleet"
networks = ["127.0.0.1"]
senders = ["app.test"]
"""

CERTIFICATE_FILES = ["ca.pem", "ca.key", "relay.pem", "relay.key"]

# Everything that a relay must leave alone: dots, octets above 127, long lines, blanks at line ends.
AWKWARD = b"".join(
    line + b"\r\n"
    for line in [
        b"From: a@app.test",
        b"Subject: octet for octet",
        b"",
        b".",
        b"..",
        b".a dot in front",
        "gr\u00fc\u00dfe \u2713".encode(),
        bytes(range(0x80, 0x100)),
        b"x" * 5000,
        b"\ttabs and blanks \t ",
        b"",
        b"",
    ]
)


def wait_for(what, condition, seconds=START_SECONDS):
    """The first true answer of `condition`; a failure if there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


def call(*arguments, codes=(0,)):
    """Runs a foreign program to its end; returns what it printed."""
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False
    )
    told = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode in codes, f"{arguments[0]} ended with {done.returncode}: {told[-600:]}"
    return told


def same(what, found, wanted):
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


def free_port():
    """A port that nothing listens on, for programs that cannot choose one and tell.

    It lies below those that the kernel hands out: some of these programs take seconds to bind it, and whoever
    asks for any port meanwhile must not get this one."""
    handed_out = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    lowest = int(handed_out[0])
    while True:
        # A machine that hands out nearly all of them leaves no choice.
        port = random.randrange(PORT_MIN, lowest if lowest > 2 * PORT_MIN else PORT_MAX)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@functools.cache
def certificates():
    """The folder of a certificate authority and of what it has signed for Gatepost, made once."""
    folder = tempfile.TemporaryDirectory(prefix="gatepost-foreign-")
    atexit.register(folder.cleanup)
    new_key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"]
    made = [str(pathlib.Path(folder.name) / name) for name in CERTIFICATE_FILES]
    ca, ca_key, relay, relay_key = made
    call(*new_key, "-subj", "/CN=Throw-away CA", "-keyout", ca_key, "-out", ca)
    call(
        *[*new_key, "-CA", ca, "-CAkey", ca_key, "-subj", "/CN=relay.test"],
        *["-addext", "subjectAltName=DNS:localhost,DNS:relay.test,IP:127.0.0.1"],
        *["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", relay_key, "-out", relay],
    )
    return pathlib.Path(folder.name)


class Program:
    """A child process in a directory of its own; what it prints goes to files there."""

    # What it logs beside that.
    logs = []

    def start(self, *arguments):
        self.stdout = self.directory / "stdout"
        self.stderr = self.directory / "stderr"
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=self.directory
            )

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="gatepost-foreign-")
        self.directory = pathlib.Path(self.temporary.name)
        self.child = None
        try:
            self.run()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.child is not None:
                self.child.terminate()
                self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        finally:
            try:
                wait_for("all processes that it started have ended", self.at_rest)
            finally:
                self.temporary.cleanup()

    def at_rest(self):
        """Whether nothing works in the directory any more: some servers have children of their own."""
        return not any(self.works_here(process) for process in pathlib.Path("/proc").glob("[0-9]*"))

    def works_here(self, process):
        try:
            return (process / "cwd").readlink().is_relative_to(self.directory)
        except OSError:  # it has ended, or is somebody else's
            return False

    def listens(self):
        # Without a connection: each one would be counted, and some modes hang up on it.
        self.alive()
        listening = f" 0100007F:{self.port:04X} 00000000:0000 0A "
        return listening in pathlib.Path("/proc/net/tcp").read_text()

    def told(self):
        """The end of what it has told, for a failure that has to be understood afterwards."""
        logs = [self.directory / name for name in ["stderr", *self.logs]]
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in logs if log.exists())

    def alive(self):
        if self.child.poll() is not None:
            raise AssertionError(f"{self.child.args[0]} has ended: {self.stderr.read_text()}")


class Gatepost(Program):
    """`gatepost run` in front of the upstream on a port of loopback."""

    upstream_lines = ""

    def __init__(self, program, upstream_port, listener="", tls="none", policy=POLICY, delivery=""):
        self.program, self.upstream_port = str(program), upstream_port
        self.listener, self.tls, self.policy, self.delivery = listener, tls, policy, delivery

    ca = ""
    logs = ["mail.jsonl"]

    def run(self):
        listener = f'tls = "{self.tls}"'
        if self.tls != "none":
            self.ca = certificates() / "ca.pem"
            for name in ["relay.pem", "relay.key"]:
                shutil.copy(certificates() / name, self.directory)
            listener += '\ncertificate = "relay.pem"\nprivate_key = "relay.key"'
        config = CONFIG.format(
            upstream=self.upstream_port,
            upstream_lines=self.upstream_lines,
            listener=self.listener,
            delivery=self.delivery,
        )
        config = config.replace('tls = "none"', listener, 1)
        (self.directory / "gatepost.toml").write_text(config)
        (self.directory / "policy.toml").write_text(self.policy)
        self.start(self.program, "run", "--config", "gatepost.toml")
        self.port = wait_for("Gatepost listens", lambda: self.port_told("listening"))
        self.metrics_port = wait_for("metrics", lambda: self.port_told("metrics and health"))

    def port_told(self, message):
        self.alive()
        for line in self.stderr.read_text().splitlines(keepends=True):
            # An error in the configuration is told in plain words, and is the end.
            whole = line.endswith("\n") and line.startswith("{")
            fields = json.loads(line)["fields"] if whole else {}
            if fields.get("message") == message:
                return int(fields["address"].rpartition(":")[2])
        return None

    def metrics_page(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def metric(self, sample):
        """One sample of the metrics page, named with its labels."""
        for line in self.metrics_page().splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {sample}")

    def stop(self):
        """Ends it as an operator does; a gateway that does not end well is a fault."""
        self.child.terminate()
        code = self.child.wait(STOP_SECONDS)
        assert code == 0, f"exit code {code} after SIGTERM: {self.stderr.read_text()}"


class SmtpSink(Program):
    """Postfix's smtp-sink, which counts messages and can be told to misbehave."""

    def __init__(self, *options):
        self.options = options

    def run(self):
        self.listen(free_port())

    def listen(self, port):
        self.port = port
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        self.start("smtp-sink", "-c", *user, *self.options, f"127.0.0.1:{self.port}", "1000")
        wait_for("smtp-sink listens", self.listens)

    def messages(self):
        counts = re.findall(rb"mesg=(\d+)", self.stdout.read_bytes() + self.stderr.read_bytes())
        return int(counts[-1]) if counts else 0


class HAProxy(Program):
    """HAProxy in front of a server, to which it connects from another address of loopback."""

    CONFIG = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    unique-id-format %Ts-%rt
listen smtp
    bind 127.0.0.1:{port}
    option smtpchk EHLO check.test
    server gatepost 127.0.0.1:{server} source {source} check inter 100ms {options}
"""

    def __init__(self, server_port, source, options):
        self.server_port, self.source, self.options = server_port, source, options

    def run(self):
        self.port = free_port()
        config = self.CONFIG.format(
            port=self.port, server=self.server_port, source=self.source, options=self.options
        )
        (self.directory / "haproxy.cfg").write_text(config)
        self.start("haproxy", "-db", "-f", "haproxy.cfg")
        wait_for("HAProxy listens", self.listens)


@dataclasses.dataclass
class Message:
    """What the keeper was given: paths in brackets, and the content without transparency."""

    sender: str = ""
    recipients: list = dataclasses.field(default_factory=list)
    content: bytes = b""

    def without_trace(self):
        """The content without the one field that a relay puts in front."""
        trace = re.match(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", self.content)
        assert trace, f"no Received line in front: {self.content[:100]!r}"
        return self.content[trace.end() :]


class Keeper(socketserver.ThreadingTCPServer):
    """An upstream that accepts everything and keeps every octet of it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.port = self.server_address[1]
        self.kept = queue.Queue()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def message(self):
        return self.kept.get(timeout=START_SECONDS)


class Conversation(socketserver.StreamRequestHandler):
    """One connection to the keeper."""

    timeout = 60

    def handle(self):
        message = Message()
        self.say("220 keeper.test")
        while command := self.rfile.readline():
            verb, _, rest = command.decode("utf-8", "surrogateescape").partition(" ")
            match verb.strip().upper():
                case "EHLO":
                    self.say("250-keeper.test", "250-PIPELINING", "250 8BITMIME")
                case "MAIL":
                    message = Message(sender=path(rest))
                    self.say("250 2.1.0 sender")
                case "RCPT":
                    message.recipients.append(path(rest))
                    self.say("250 2.1.5 recipient")
                case "DATA":
                    self.say("354 go on")
                    message.content = self.content()
                    self.server.kept.put(message)
                    self.say("250 2.0.0 kept")
                case "QUIT":
                    self.say("221 2.0.0 bye")
                    return
                case _:
                    self.say("250 2.0.0 yes")

    def content(self):
        content = bytearray()
        while line := self.rfile.readline():
            if line == b".\r\n" and (not content or content.endswith(b"\r\n")):
                return bytes(content)
            content += line.removeprefix(b".")
        raise ConnectionError("lost before the end of data")

    def say(self, *lines):
        self.wfile.write("".join(line + "\r\n" for line in lines).encode())


def path(argument):
    return re.search(r"<.*>", argument)[0]

"""The upstreams that other people wrote, each as a context manager that keeps what it is given:
`stored()` is the messages as they lie on its disk. What a server puts in front of its own, and LF for CRLF
where it keeps text that way, is taken off again."""

import os
import pwd
import re

from exim import Exim
from job import PYTHON, SCRIPTS
from store import MAILBOXES, Maildirs, needs_root, relayed
from world import Program, SmtpSink, call, free_port, wait_for


class Postfix(Maildirs, Program):
    """Postfix's smtpd behind its own master, with an instance of its own in a folder."""

    logs = ["maillog"]

    MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file_prefixes = {directory}
maillog_file = {directory}/maillog
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_header_rewrite_clients =
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtputf8_enable = yes
virtual_mailbox_domains = example.net
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""
    MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""

    def run(self):
        needs_root("Postfix")
        self.port = free_port()
        self.directory.chmod(0o711)
        owner = pwd.getpwnam("nobody")
        for name in ["queue", "data", "mail"]:
            (self.directory / name).mkdir()
        os.chown(self.directory / "mail", owner.pw_uid, owner.pw_gid)
        os.chown(self.directory / "data", pwd.getpwnam("postfix").pw_uid, -1)
        (self.directory / "mailboxes").write_text(
            "".join(f"{name}@example.net {name}/\n" for name in MAILBOXES)
        )
        fields = {"directory": self.directory, "port": self.port}
        fields |= {"uid": owner.pw_uid, "gid": owner.pw_gid}
        (self.directory / "main.cf").write_text(self.MAIN.format(**fields))
        (self.directory / "master.cf").write_text(self.MASTER.format(**fields))
        # `check` makes the folders. The master is started without `postfix start-fg`, which would not pass
        # on the signal that ends it.
        call("postfix", "-c", str(self.directory), "check")
        folder = call("postconf", "-d", "-h", "daemon_directory").strip()
        self.start(f"{folder}/master", "-c", str(self.directory), "-s")
        wait_for("Postfix listens", self.listens)

    def log(self):
        return (self.directory / "maillog").read_text(errors="replace")

    def chunks(self):
        """How many BDAT commands its sessions counted so far."""
        return sum(int(count) for count in re.findall(r"disconnect from .* bdat=(\d+)", self.log()))


class Aiosmtpd(Program):
    """aiosmtpd, the server that applications in Python are tested against."""

    def run(self):
        self.port = free_port()
        (self.directory / "mail").mkdir()
        self.start(PYTHON, str(SCRIPTS / "keep_with_aiosmtpd.py"), str(self.port), "mail")
        wait_for("aiosmtpd listens", self.listens)

    def stored(self):
        found = {}
        for path in sorted((self.directory / "mail").iterdir()):
            recipients, _, content = path.read_bytes().partition(b"\n")
            for recipient in recipients.decode().split():
                found.setdefault(recipient.partition("@")[0], []).append(relayed(content))
        return found


class DumpingSink(SmtpSink):
    """smtp-sink, which writes each message to a file."""

    def __init__(self, *options):
        super().__init__(*options, "-d", "mail/%S.")

    def run(self):
        self.directory.chmod(0o777)
        super().run()

    def dumped(self):
        """The octets of every transaction that came as far as its content."""
        return [path.read_bytes() for path in sorted((self.directory / "mail").glob("*"))]

    def kill_and_restart(self):
        self.child.kill()
        self.child.wait()
        self.listen(self.port)

    def marks(self):
        """The last lines of all messages that are there to their last line."""
        found = [re.search(rb"^the end of (\S+)\n", dump, re.M) for dump in self.dumped()]
        return [mark[1].decode() for mark in found if mark]

    def stored(self):
        found = {}
        for dump in self.dumped():
            # An empty line ends it.
            content = relayed(dump.removesuffix(b"\n"))
            for recipient in re.findall(rb"^X-Rcpt-Args: <([^@>]+)@", dump, re.M):
                found.setdefault(recipient.decode(), []).append(content)
        return found


SERVERS = {"smtp-sink": DumpingSink, "aiosmtpd": Aiosmtpd, "Postfix": Postfix, "Exim": Exim}
POSTFIX_VERSION = ["postconf", "-d", "-h", "mail_version"]
SERVER_VERSIONS = {
    "smtp-sink": POSTFIX_VERSION,
    "aiosmtpd": [PYTHON, "-c", "import aiosmtpd; print(aiosmtpd.__version__)"],
    "Postfix": POSTFIX_VERSION,
    "Exim": ["exim4", "-C", "/dev/null", "-bV"],
}

"""Exim, as an upstream and as a client: the only relay at hand that sends BDAT. It runs from the place
where scripts/install-tools has unpacked it."""

import os
import pathlib
import pwd
import re
import shutil

from job import IMPLICIT, PLAIN, Sent, run
from known import MESSAGE, RECIPIENTS, SENDER
from store import MAILBOXES, Maildirs, needs_root
from world import Program, free_port, wait_for


class Exim(Maildirs, Program):
    """Exim as a daemon. Its package cannot be installed beside Postfix's: it lies unpacked elsewhere."""

    logs = ["log-main"]
    CONFIG = """
exim_path = {program}
spool_directory = {directory}/spool
log_file_path = {directory}/log-%s
pid_file_path = {directory}/pid
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
keep_environment =
host_lookup =
tls_advertise_hosts =
smtp_accept_max = 0
deliver_drop_privilege = true
domainlist here = example.net
acl_smtp_rcpt = check_rcpt
acl_smtp_dkim =
dkim_verify_signers =
begin acl
check_rcpt:
  accept domains = +here
begin routers
here:
  driver = accept
  domains = +here
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  # What comes from outside may not name a file; what was found in one may.
  directory = {directory}/mail/${{lookup{{$local_part}}lsearch,ret=key{{{directory}/mailboxes}}}}
  create_directory
  user = Debian-exim
"""

    def run(self):
        needs_root("Exim")
        self.port = free_port()
        own_exim(self.directory, "spool", "mail")
        fields = {"directory": self.directory, "port": self.port, "program": shutil.which("exim4")}
        (self.directory / "mailboxes").write_text("".join(f"{name}: \n" for name in MAILBOXES))
        (self.directory / "exim.conf").write_text(self.CONFIG.format(**fields))
        self.start("exim4", "-C", str(self.directory / "exim.conf"), "-bdf", "-q1h")
        wait_for("Exim listens", self.listens)

    def log(self):
        path = self.directory / "log-main"
        return path.read_text(errors="replace") if path.exists() else ""

    def chunks(self):
        """How many messages came by BDAT."""
        return len(re.findall(r" <= .* K ", self.log()))


class EximClient(Program):
    """Exim with a message to deliver by way of a smart host; no daemon."""

    CONFIG = """
exim_path = {program}
spool_directory = {directory}/spool
log_file_path = {directory}/log-%s
primary_hostname = app.test
keep_environment =
received_header_text =
local_from_check = false
begin routers
smart_host:
  driver = manualroute
  route_list = * 127.0.0.1::{port} byname
  self = send
  transport = smart_host
begin transports
smart_host:
  driver = smtp
  protocol = {protocol}
  {tls}
  tls_verify_certificates = {ca}
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
  message_linelength_limit = 1000000
  hosts_try_dane =
"""

    def __init__(self, port, tls, ca):
        self.port, self.tls, self.ca = port, tls, ca

    def run(self):
        needs_root("Exim")
        own_exim(self.directory, "spool")
        (self.directory / "ca.pem").write_bytes(pathlib.Path(self.ca).read_bytes() if self.ca else b"")
        config = self.CONFIG.format(
            program=shutil.which("exim4"), directory=self.directory, port=self.port,
            protocol="smtps" if self.tls == IMPLICIT else "smtp",
            tls="hosts_avoid_tls = *" if self.tls == PLAIN else "hosts_require_tls = *",
            ca=self.directory / "ca.pem",
        )
        (self.directory / "exim.conf").write_text(config)

    def send(self):
        code, told, _ = run(
            *["exim4", "-C", self.directory / "exim.conf", "-f", SENDER, "-odf", "-i", *RECIPIENTS],
            stdin=MESSAGE.replace(b"\r\n", b"\n"),
        )
        log = (self.directory / "log-main").read_text(errors="replace")
        delivered = len(re.findall(r" [=-]> \S+@example\.net ", log))
        return Sent(code or int(delivered != len(RECIPIENTS)), told + log)


def own_exim(directory, *names):
    """Exim does everything below here as its own user."""
    owner = pwd.getpwnam("Debian-exim")
    directory.chmod(0o711)
    for name in names:
        (directory / name).mkdir()
        os.chown(directory / name, owner.pw_uid, owner.pw_gid)
    for name in ["log-main", "log-panic", "log-reject"]:
        (directory / name).touch()
        os.chown(directory / name, owner.pw_uid, owner.pw_gid)

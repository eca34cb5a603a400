"""The clients: how each program that other people wrote is told to send one message. Each returns how it
ended, what it printed, and the octets that it meant to send."""

import dataclasses
import re
import smtplib
import ssl

from exim import EximClient
from job import IMPLICIT, PLAIN, PYTHON, SCRIPTS, STARTTLS, Sender, Sent, run
from known import MESSAGE, PASSWORD, RECIPIENTS, SENDER, USER

MECHANISMS = ("PLAIN", "LOGIN")
# From where a client that speaks the PROXY protocol itself connects; an address that is on no list.
PROXY = "127.0.0.9"
BEHIND_PROXY = f'proxy_protocol = "required"\ntrusted_proxies = ["{PROXY}"]'


def swaks(*options, source="127.0.0.1"):
    def send(job):
        tls = {PLAIN: [], STARTTLS: ["--tls"], IMPLICIT: ["--tls-on-connect"]}[job.tls]
        if job.tls != PLAIN:
            tls += ["--tls-verify", "--tls-ca-path", job.ca]
        if job.mechanism:
            tls += ["--auth", job.mechanism, "--auth-user", USER, "--auth-password", PASSWORD]
        code, told, _ = run(
            *["swaks", "--server", "127.0.0.1", "--port", job.port, "--helo", "app.test"],
            *["--local-interface", source, "--from", SENDER, "--to", ",".join(RECIPIENTS)],
            *["--hide-send", "--data", f"@{job.file()}", *tls, *options],
        )
        # It puts an empty line behind what it is given.
        return Sent(code, told, MESSAGE + b"\r\n")

    return send


def swaks_proxy(version):
    header = ["--proxy-version", version, "--proxy-family", "TCP4" if version == 1 else "AF_INET"]
    header += ["--proxy-protocol", "STREAM", "--proxy-command", "PROXY"] if version == 2 else []
    header += ["--proxy-source", "127.0.0.1", "--proxy-source-port", "1234"]
    return swaks(*header, "--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25", source=PROXY)


def msmtp(job):
    starttls = "on" if job.tls == STARTTLS else "off"
    tls = ["--tls=off"] if job.tls == PLAIN else ["--tls=on", f"--tls-starttls={starttls}"]
    tls += [] if job.tls == PLAIN else [f"--tls-trust-file={job.ca}"]
    password = job.directory / "password"
    password.write_text(PASSWORD)
    auth = [f"--auth={job.mechanism.lower()}", f"--user={USER}", f"--passwordeval=cat {password}"]
    code, told, _ = run(
        *["msmtp", "--host=localhost", f"--port={job.port}", "--domain=app.test", *tls],
        *[f"--from={SENDER}", *(auth if job.mechanism else ["--auth=off"]), "--timeout=20"],
        *["--", *RECIPIENTS],
        stdin=MESSAGE.replace(b"\r\n", b"\n"),
    )
    return Sent(code, told)


def curl(job):
    scheme = "smtps" if job.tls == IMPLICIT else "smtp"
    options = [] if job.tls == PLAIN else ["--ssl-reqd", "--cacert", job.ca]
    if job.mechanism:
        options += ["--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={job.mechanism}"]
    code, told, _ = run(
        *["curl", "--silent", "--verbose", "--noproxy", "*", "--max-time", "20", *options],
        *["--mail-from", SENDER, *(word for to in RECIPIENTS for word in ("--mail-rcpt", to))],
        *["--upload-file", job.file(), f"{scheme}://localhost:{job.port}/app.test"],
    )
    return Sent(code, told)


def python(job):
    context = None if job.tls == PLAIN else ssl.create_default_context(cafile=job.ca)
    try:
        if job.tls == IMPLICIT:
            client = smtplib.SMTP_SSL(
                "localhost", job.port, "app.test", timeout=20, context=context
            )
        else:
            client = smtplib.SMTP("localhost", job.port, "app.test", timeout=20)
        with client:
            if job.tls == STARTTLS:
                client.starttls(context=context)
            client.ehlo()
            if job.mechanism:
                client.user, client.password = USER, PASSWORD
                method = getattr(client, f"auth_{job.mechanism.lower()}")
                client.auth(job.mechanism, method)
            refused = client.sendmail(SENDER, RECIPIENTS, MESSAGE, ["BODY=8BITMIME"])
        return Sent(len(refused), str(refused))
    except (smtplib.SMTPException, OSError) as error:
        return Sent(1, f"{type(error).__name__}: {error}")


def script(*command):
    """A program of ours around a library of theirs; all take the same arguments."""

    def send(job):
        credential = {"SMTP_USER": USER, "SMTP_PASSWORD": PASSWORD, "SMTP_MECHANISM": job.mechanism}
        code, told, _ = run(
            *[*command, job.port, job.tls, job.ca, job.file(), SENDER, *RECIPIENTS],
            environment=credential if job.mechanism else None,
        )
        return Sent(code, told)

    return send


def phpmailer(job):
    credential = {"SMTP_USER": USER, "SMTP_PASSWORD": PASSWORD, "SMTP_MECHANISM": job.mechanism}
    code, told, meant = run(
        *[SCRIPTS / "with_phpmailer.php", job.port, job.tls, job.ca, job.file(), SENDER],
        *RECIPIENTS,
        environment=credential if job.mechanism else None,
    )
    # It puts an empty line behind what it has made.
    return Sent(code, told, meant + b"\r\n")


def smtp_source(job):
    code, told, _ = run(
        *["smtp-source", "-r", len(RECIPIENTS), "-F", job.file(b"\n"), "-f", SENDER],
        *["-t", "b@example.net", f"127.0.0.1:{job.port}"],
    )
    # It says nothing when all is well, and puts an empty line behind what it is given.
    recipients = [f"{number}b@example.net" for number in range(len(RECIPIENTS), 1, -1)]
    recipients.append("b@example.net")
    return Sent(code or int(bool(told)), told, MESSAGE + b"\r\n", recipients)


def smtpping(chunking=""):
    """With DATA it knows no transparency, so it is given no line with a dot in front; with BDAT, all."""
    content = MESSAGE if chunking else re.sub(rb"^\.+", b"", MESSAGE, flags=re.M)

    def send(job):
        path = job.directory / "known"
        path.write_bytes(content)
        code, told, _ = run(
            *["smtpping", "-p", job.port, "-c", 1, "-w", 0, "-H", "app.test", "-S", SENDER],
            *["-d", "-f", path, *([chunking] if chunking else []), RECIPIENTS[0], "@127.0.0.1"],
        )
        # It ends with 0 whatever it is told, and believes that a refused message was sent.
        failed = "quit=" not in told or re.search("response [45]", told)
        return Sent(code or int(bool(failed)), told, content, RECIPIENTS[:1])

    return send


def exim(job):
    """Exim on the machine of an application, with Gatepost as its smart host."""
    with EximClient(job.port, job.tls, job.ca) as client:
        return client.send()


NODE_PACKAGE = "/usr/share/nodejs/nodemailer/package.json"
PHPMAILER = "/usr/share/php/libphp-phpmailer/autoload.php"
PHPMAILER_VERSION = f"require '{PHPMAILER}'; echo PHPMailer\\PHPMailer\\PHPMailer::VERSION;"
SENDERS = [
    Sender("swaks", "swaks", ["swaks", "--version"], swaks(), mechanisms=MECHANISMS),
    Sender("swaks --pipeline", "swaks", ["swaks", "--version"], swaks("--pipeline")),
    Sender(
        "swaks, PROXY 1", "swaks", ["swaks", "--version"], swaks_proxy(1), listener=BEHIND_PROXY
    ),
    Sender(
        "swaks, PROXY 2", "swaks", ["swaks", "--version"], swaks_proxy(2), listener=BEHIND_PROXY
    ),
    Sender("msmtp", "msmtp", ["msmtp", "--version"], msmtp, mechanisms=MECHANISMS),
    Sender("curl", "curl", ["curl", "--version"], curl, mechanisms=MECHANISMS),
    Sender("smtplib", "python3", ["python3", "--version"], python, mechanisms=MECHANISMS),
    Sender(
        "aiosmtplib", PYTHON, [PYTHON, "-c", "import aiosmtplib; print(aiosmtplib.__version__)"],
        script(SCRIPTS / "with_aiosmtplib.py"), mechanisms=MECHANISMS,
    ),
    Sender(
        "nodemailer", "node", ["node", "-p", f"require('{NODE_PACKAGE}').version"],
        script(SCRIPTS / "with_nodemailer.js"), mechanisms=MECHANISMS,
    ),
    Sender(
        "PHPMailer", "php", ["php", "-r", PHPMAILER_VERSION],
        phpmailer, mechanisms=MECHANISMS,
    ),
    Sender(
        "Net::SMTP (Perl)", "perl", ["perl", "-MNet::SMTP", "-e", "print $Net::SMTP::VERSION"],
        script(SCRIPTS / "with_net_smtp.pl"), mechanisms=MECHANISMS,
    ),
    Sender(
        "net-smtp (Ruby)", "ruby", ["ruby", "-rnet/smtp", "-e", "puts Net::SMTP::VERSION"],
        script(SCRIPTS / "with_net_smtp.rb"), mechanisms=MECHANISMS,
    ),
    Sender("smtp-source", "smtp-source", ["postconf", "-d", "-h", "mail_version"], smtp_source, (PLAIN,)),
    Sender("smtpping", "smtpping", ["smtpping", "--version"], smtpping(), (PLAIN,)),
    Sender("Exim", "exim4", ["exim4", "-C", "/dev/null", "-bV"], exim),
]


def lettre(program):
    """The row of lettre, whose program is ours and has to be built first."""

    def send(job):
        # It puts an empty line behind what it is given.
        return dataclasses.replace(script(program)(job), meant=MESSAGE + b"\r\n")

    version = ["sed", "-n", '/^name = "lettre"/{n;s/version = "\\(.*\\)"/\\1/p}']
    lock = str(SCRIPTS / "lettre/Cargo.lock")
    return Sender("lettre", str(program), [*version, lock], send, mechanisms=MECHANISMS)

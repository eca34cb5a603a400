"""Foreign clients in front of Gatepost, and Prometheus beside it. Each check takes the program."""

import pathlib
import re
import smtplib
import ssl
import subprocess

from world import AWKWARD, Gatepost, Keeper, SmtpSink, call, same, wait_for

SESSIONS, MESSAGES, OCTETS = 20, 5000, 4096
RULES = pathlib.Path(__file__).parents[2] / "deploy/prometheus/gatepost.rules.yml"


def load(program, options, connections):
    """All messages of a load arrive, and the metrics tell the same numbers."""
    with SmtpSink() as sink, Gatepost(program, sink.port) as gatepost:
        told = call(
            *["smtp-source", *options, "-s", str(SESSIONS), "-m", str(MESSAGES), "-l", str(OCTETS)],
            *["-f", "load@app.test", "-t", "user@example.net", f"127.0.0.1:{gatepost.port}"],
        )
        same("smtp-source says", told, "")
        wait_for("all messages are at smtp-sink", lambda: sink.messages() >= MESSAGES)
        same("messages at smtp-sink", sink.messages(), MESSAGES)
        for sample, count in [
            ('gatepost_messages_total{listener="smtp",result="accepted"}', MESSAGES),
            ('gatepost_deliveries_total{upstream="sink",result="delivered"}', MESSAGES),
            ('gatepost_connections_total{listener="smtp",result="allowed"}', connections),
        ]:
            same(sample, gatepost.metric(sample), count)
        opened = gatepost.metric('gatepost_upstream_connections_opened_total{upstream="sink"}')
        assert opened <= 2 * SESSIONS, f"{opened:.0f} connections to the upstream: not reused"
        gatepost.stop()


def load_in_kept_sessions(program):
    """smtp-source: 5000 messages in 20 sessions"""
    load(program, ["-d"], SESSIONS)


def load_in_many_connections(program):
    """smtp-source: 5000 messages, a connection for each"""
    load(program, [], MESSAGES)


def swaks(gatepost, *options, codes=(0,)):
    fixed = ["swaks", "--server", "127.0.0.1", "--port", str(gatepost.port), "--helo", "app.test"]
    return call(*fixed, "--from", "a@app.test", *options, codes=codes)


def swaks_sends(program):
    """swaks: plain, and to two recipients"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        swaks(gatepost, "--to", "b@example.net", "--body", "hello")
        message = keeper.message()
        same("envelope", (message.sender, message.recipients), ("<a@app.test>", ["<b@example.net>"]))
        assert message.content.rstrip().endswith(b"hello"), message.content
        swaks(gatepost, "--to", "b@example.net,c@example.org")
        same("recipients", keeper.message().recipients, ["<b@example.net>", "<c@example.org>"])
        gatepost.stop()


def swaks_pipelines(program):
    """swaks: pipelined, with 8-bit data"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        data = gatepost.directory / "message"
        data.write_bytes(AWKWARD)
        options = ["--pipeline", "--data", f"@{data}"]
        swaks(gatepost, "--to", "b@example.net,c@example.org", *options)
        message = keeper.message()
        same("recipients", message.recipients, ["<b@example.net>", "<c@example.org>"])
        # swaks puts an empty line behind what it is given.
        same("content", message.without_trace(), AWKWARD + b"\r\n")
        gatepost.stop()


def swaks_is_refused(program):
    """swaks: a sender and an address that are not allowed"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        told = swaks(gatepost, "--from", "ceo@bank.test", "--to", "b@example.net", codes=(23,))
        assert "550 5.7.1 <ceo@bank.test> is not an allowed sender of entry fleet" in told, told
        local = ["--local-interface", "127.0.0.2"]
        told = swaks(gatepost, "--to", "b@example.net", *local, codes=(21,))
        assert "554 5.7.1 relay.test: 127.0.0.2 is not on the allow-list" in told, told
        assert keeper.kept.empty(), "the upstream has heard of it"
        gatepost.stop()


def smtplib_sends(program):
    """smtplib: several messages in one session"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        with smtplib.SMTP("127.0.0.1", gatepost.port, "app.test", timeout=10) as client:
            for number in range(3):
                content = AWKWARD + b"%d\r\n" % number
                refused = client.sendmail("a@app.test", ["b@example.net"], content, ["BODY=8BITMIME"])
                same("refused recipients", refused, {})
                same("content", keeper.message().without_trace(), content)
        gatepost.stop()


def smtplib_is_refused(program):
    """smtplib: a sender and an address that are not allowed"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        with smtplib.SMTP("127.0.0.1", gatepost.port, "app.test", timeout=10) as client:
            try:
                client.sendmail("ceo@bank.test", ["b@example.net"], "no")
                raise AssertionError("the sender was accepted")
            except smtplib.SMTPSenderRefused as refusal:
                same("reply", (refusal.smtp_code, refusal.smtp_error[:5]), (550, b"5.7.1"))
        try:
            stranger = ("127.0.0.2", 0)
            smtplib.SMTP("127.0.0.1", gatepost.port, timeout=10, source_address=stranger)
            raise AssertionError("the address was accepted")
        except smtplib.SMTPConnectError as refusal:
            same("reply", (refusal.smtp_code, refusal.smtp_error[:5]), (554, b"5.7.1"))
        gatepost.stop()


def curl_sends(program):
    """curl: octet for octet"""
    with Keeper() as keeper, Gatepost(program, keeper.port) as gatepost:
        data = gatepost.directory / "message"
        data.write_bytes(AWKWARD)
        call(
            *["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"],
            *["--mail-from", "a@app.test", "--mail-rcpt", "b@example.net"],
            *["--upload-file", str(data), f"smtp://127.0.0.1:{gatepost.port}/app.test"],
        )
        message = keeper.message()
        same("envelope", (message.sender, message.recipients), ("<a@app.test>", ["<b@example.net>"]))
        same("content", message.without_trace(), AWKWARD)
        gatepost.stop()


def openssl_clients(program):
    """curl, openssl and smtplib: STARTTLS and implicit TLS, octet for octet"""
    for tls, scheme in [("starttls", "smtp"), ("implicit", "smtps")]:
        with Keeper() as keeper, Gatepost(program, keeper.port, tls=tls) as gatepost:
            data, ca = gatepost.directory / "message", str(gatepost.ca)
            data.write_bytes(AWKWARD)
            for version in ["1.2", "1.3"]:
                call(
                    *["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"],
                    *["--ssl-reqd", "--cacert", ca, f"--tlsv{version}", "--tls-max", version],
                    *["--mail-from", "a@app.test", "--mail-rcpt", "b@example.net"],
                    *["--upload-file", str(data), f"{scheme}://localhost:{gatepost.port}/app.test"],
                )
                same("content", keeper.message().without_trace(), AWKWARD)
            starttls = ["-starttls", "smtp"] if tls == "starttls" else []
            told = call(
                *["openssl", "s_client", "-connect", f"127.0.0.1:{gatepost.port}", *starttls],
                *["-CAfile", ca, "-verify_return_error", "-brief"],
            )
            assert "Protocol version: TLSv1.3" in told, told
            context = ssl.create_default_context(cafile=ca)
            if tls == "starttls":
                client = smtplib.SMTP("localhost", gatepost.port, "app.test", timeout=10)
                client.starttls(context=context)
            else:
                client = smtplib.SMTP_SSL(
                    "localhost", gatepost.port, "app.test", timeout=10, context=context
                )
            with client:
                client.sendmail("a@app.test", ["b@example.net"], "hello")
            assert b"with ESMTPS id" in keeper.message().content
            gatepost.stop()


class GatepostWithCanary(Gatepost):
    """One that has all its metrics."""

    upstream_lines = 'canary = { from = "canary@app.test", to = "canary@example.net" }'


def prometheus_reads(program):
    """promtool: the metrics page, with every metric that an alert rule names"""
    with SmtpSink() as sink, GatepostWithCanary(program, sink.port, tls="starttls") as gatepost:
        page = gatepost.metrics_page()
        lint = subprocess.run(
            ["promtool", "check", "metrics"],
            input=page.encode(), capture_output=True, timeout=30, check=False,
        )
        # 3: understood, with remarks on style.
        assert lint.returncode in (0, 3), lint.stderr.decode()
        expressions = re.findall(r"expr: (?:\|\n)?(.*?)\n +(?:for|labels):", RULES.read_text(), re.S)
        named = set(re.findall(r"\bgatepost_\w+", "\n".join(expressions)))
        assert len(expressions) > 10 and len(named) > 5, "the rules are not read right"
        there = set(re.findall(r"^(\w+)", page, re.M))
        same("metrics of the rules that are not there", sorted(named - there), [])
        gatepost.stop()


CHECKS = [
    load_in_kept_sessions,
    load_in_many_connections,
    swaks_sends,
    swaks_pipelines,
    swaks_is_refused,
    smtplib_sends,
    smtplib_is_refused,
    curl_sends,
    openssl_clients,
    prometheus_reads,
]

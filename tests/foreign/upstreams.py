"""Gatepost in front of an upstream that misbehaves: what the client hears, and what is counted."""

import smtplib

from world import AWKWARD, Gatepost, SmtpSink, free_port, same

# Where the client hears of it, what it hears, and the metric that counts it.
RCPT, END = "RCPT", "end of data"
CONFIGURATION_FAULT = 'gatepost_configuration_faults_total{upstream="sink"}'
AMBIGUOUS = 'gatepost_deliveries_total{upstream="sink",result="ambiguous"}'
UNREACHABLE = 'gatepost_deliveries_total{upstream="sink",result="unreachable"}'
NO_SUCH_USER = ["-B", "550 5.1.1 no such user"]

FAULTS = [
    (["-f", "RCPT", *NO_SUCH_USER], RCPT, "550 5.1.1", None),
    (["-r", "RCPT"], RCPT, "450 4.3.0", None),
    (["-f", "RCPT"], RCPT, "451 4.3.5", CONFIGURATION_FAULT),
    (["-f", "MAIL", "-B", "550 5.7.1 not you"], RCPT, "550 5.7.1", None),
    (["-r", "MAIL"], RCPT, "450 4.3.0", None),
    (["-f", "DATA", "-B", "554 5.7.1 no"], END, "554 5.7.1", None),
    (["-r", "DATA"], END, "450 4.3.0", None),
    (["-f", ".", "-B", "554 5.6.0 spam"], END, "554 5.6.0", None),
    (["-r", "."], END, "450 4.3.0", None),
    # Its reply has no enhanced status code; the one of its class is put in.
    (["-A", "0"], END, "550 5.0.0", None),
    (["-q", "CONNECT"], RCPT, "451 4.4.1", UNREACHABLE),
    (["-q", "EHLO"], RCPT, "451 4.4.1", UNREACHABLE),
    (["-q", "RCPT"], RCPT, "451 4.4.2", None),
    (["-q", "DATA"], END, "451 4.4.2", None),
    (["-q", "."], END, "451 4.4.2", AMBIGUOUS),
    (["-Q", "CONNECT"], RCPT, "451 4.3.2", None),
    (["-Q", "RCPT"], RCPT, "451 4.3.2", None),
    (["-Q", "."], END, "451 4.3.2", None),
    (["-8"], END, "554 5.6.3", None),
    (["-p"], END, "250 2.", None),
    (["-e", "-8"], END, "554 5.6.3", None),
]


def first_refusal(port):
    """Where a client is first told something but yes, or the end of data; and what it is told."""
    with smtplib.SMTP("127.0.0.1", port, "app.test", timeout=20) as client:
        client.ehlo()
        same("MAIL", client.mail("a@app.test", ["BODY=8BITMIME"])[0], 250)
        code, text = client.rcpt("b@example.net")
        if code != 250:
            return RCPT, f"{code} {text.decode()}"
        try:
            code, text = client.data(AWKWARD)
            return END, f"{code} {text.decode()}"
        except smtplib.SMTPDataError as refusal:
            return "DATA", f"{refusal.smtp_code} {refusal.smtp_error.decode()}"


def fault(options, stage, reply, metric):
    """A check: an upstream that misbehaves in one way, and what a client hears of it."""

    def check(program):
        with SmtpSink(*options) as sink, Gatepost(program, sink.port) as gatepost:
            where, told = first_refusal(gatepost.port)
            assert (where, told[: len(reply)]) == (stage, reply), f"{where}: {told}"
            if metric:
                same(metric, gatepost.metric(metric), 1)
            gatepost.stop()

    check.__doc__ = f"smtp-sink {' '.join(options)}: {reply} to {stage}"
    return check


def nobody_listens(program):
    """no upstream at all: 451 4.4.1 to RCPT"""
    with Gatepost(program, free_port()) as gatepost:
        where, told = first_refusal(gatepost.port)
        same("reply", (where, told[:9]), (RCPT, "451 4.4.1"))
        gatepost.stop()


CHECKS = [nobody_listens, *(fault(*row) for row in FAULTS)]

"""Gatepost in front of an upstream that misbehaves: what the client hears, what is counted, and that a
message is at the upstream once if the client was told so, and never twice."""

import re
import smtplib
import threading
import time

from matrix import sent_by
from servers import DumpingSink
from world import AWKWARD, Gatepost, free_port, same

# Where the client hears of it, what it hears, and the metric that counts it.
RCPT, END = "RCPT", "end of data"
ENVELOPE_FAULT = 'gatepost_configuration_faults_total{upstream="sink",scope="envelope"}'
UPSTREAM_FAULT = 'gatepost_configuration_faults_total{upstream="sink",scope="upstream"}'
AMBIGUOUS = 'gatepost_deliveries_total{upstream="sink",result="ambiguous"}'
UNREACHABLE = 'gatepost_deliveries_total{upstream="sink",result="unreachable"}'
NO_SUCH_USER = ["-B", "550 5.1.1 no such user"]


def counted_as(command, code):
    """What a client can provoke is its own; that somebody has to log in is not."""
    ours = command == "MAIL" and code in (521, 530, 535, 538)
    return UPSTREAM_FAULT if ours else ENVELOPE_FAULT


FAULTS = [
    (["-f", "RCPT", *NO_SUCH_USER], RCPT, "550 5.1.1", None),
    (["-r", "RCPT"], RCPT, "450 4.3.0", None),
    (["-f", "RCPT"], RCPT, "451 4.3.5", ENVELOPE_FAULT),
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


# The rest of what smtp-sink can do wrong, and what it can do slowly or without: for the long part.
REFUSES, TOO_BUSY = ["-B", "554 5.7.1 go away"], ["-b", "421 4.7.0 too busy"]
MORE_FAULTS = [
    (["-f", "CONNECT"], RCPT, "451 4.3.5", UPSTREAM_FAULT),
    (["-f", "CONNECT", *REFUSES], RCPT, "451 4.4.1", None),
    (["-r", "CONNECT"], RCPT, "451 4.4.1", None),
    (["-r", "CONNECT", *TOO_BUSY], RCPT, "451 4.3.2", None),
    (["-f", "EHLO,HELO"], RCPT, "451 4.3.5", UPSTREAM_FAULT),
    (["-r", "EHLO"], RCPT, "451 4.4.1", None),
    (["-Q", "EHLO"], RCPT, "451 4.3.2", None),
    (["-e", "-q", "HELO"], RCPT, "451 4.4.1", None),
    (["-f", "MAIL"], RCPT, "451 4.3.5", ENVELOPE_FAULT),
    (["-q", "MAIL"], RCPT, "451 4.4.2", None),
    (["-Q", "MAIL"], RCPT, "451 4.3.2", None),
    (["-r", "MAIL", *TOO_BUSY], RCPT, "451 4.3.2", None),
    (["-r", "RCPT", *TOO_BUSY], RCPT, "451 4.3.2", None),
    (["-r", "RCPT", "-b", "452 4.5.3 too many"], RCPT, "452 4.5.3", None),
    (["-f", "RCPT", "-B", "552 5.2.2 full"], RCPT, "452 4.5.3", None),
    (["-f", "DATA"], END, "451 4.3.5", ENVELOPE_FAULT),
    (["-Q", "DATA"], END, "451 4.3.2", None),
    (["-r", "DATA", *TOO_BUSY], END, "451 4.3.2", None),
    (["-f", "."], END, "451 4.3.5", ENVELOPE_FAULT),
    (["-f", ".", "-B", "552 5.3.4 too big"], END, "552 5.3.4", None),
    (["-r", ".", *TOO_BUSY], END, "451 4.3.2", None),
    *(
        (["-f", command, "-B", f"{code} 5.7.0 not like this"], where, "451 4.3.5", counted_as(command, code))
        for command, where in [("MAIL", RCPT), ("RCPT", RCPT), ("DATA", END), (".", END)]
        for code in (503, 521, 530, 535, 538, 555)
    ),
    # What it cuts off between its replies, or never needs.
    *(([option, "RSET,QUIT,NOOP"], END, "250 2.", None) for option in ["-f", "-r", "-q", "-Q"]),
    (["-n", "1"], END, "250 2.", None),
    # It counts the message, and ends before it answers.
    (["-M", "1"], END, "451 4.4.2", AMBIGUOUS),
    (["-a", "-C", "-F", "-N"], END, "250 2.", None),
    (["-E"], END, "250 2.", None),
    (["-e"], END, "554 5.6.3", None),
    (["-P"], END, "554 5.6.3", None),
    # Slow, and not wrong.
    *(
        (["-W", f"{command}:1"], END, "250 2.", None)
        for command in ["CONNECT", "EHLO", "RCPT", "."]
    ),
    # With pipelining it would answer the next command first.
    (["-p", "-W", "MAIL:1"], END, "250 2.", None),
    (["-w", "1"], END, "250 2.", None),
    (["-H", "1", "-T", "1024"], END, "250 2.", None),
    (["-A", "1"], END, "550 5.0.0", None),
]
# Slower than Gatepost is told to wait.
IMPATIENT = 'final_reply_timeout = "1s"'
SILENT = (["-W", ".:4"], END, "451 4.4.2", AMBIGUOUS, IMPATIENT)


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


def fault(options, stage, reply, metric, delivery=""):
    """A check: an upstream that misbehaves in one way, and what a client hears of it."""

    def check(program):
        with (
            DumpingSink(*options) as sink,
            Gatepost(program, sink.port, delivery=delivery) as gatepost,
        ):
            where, told = first_refusal(gatepost.port)
            assert (where, told[: len(reply)]) == (stage, reply), f"{where}: {told}"
            if metric:
                same(metric, gatepost.metric(metric), 1)
            gatepost.stop()
            if reply.startswith("2"):
                same("stored", sink.stored(), {"b": [AWKWARD]})
            else:
                # It may have had the message and not said so, but not twice.
                assert len(sink.dumped()) <= 1, "a message has come twice"

    check.__doc__ = f"smtp-sink {' '.join(options)}: {reply} to {stage}"
    check.cell = ("smtplib", "faults", "smtp-sink")
    return check


# A client has to see that it failed, however it reads replies, and the code has to be the right one.
HEARD = [
    (["-f", "RCPT", *NO_SUCH_USER], "550"),
    (["-r", "RCPT"], "450"),
    (["-f", ".", "-B", "554 5.6.0 spam"], "554"),
    (["-r", "."], "450"),
    (["-q", "."], "451"),
    (["-q", "DATA"], "451"),
]


def heard(sender, options, code):
    """A check: one client and one fault, and what the client makes of it."""

    def check(program):
        with (
            DumpingSink(*options) as sink,
            Gatepost(program, sink.port, sender.listener) as gatepost,
        ):
            sent = sent_by(sender, gatepost)
            assert sent.code != 0, f"it believes that its message was sent: {sent.told}"
            assert re.search(rf"\b{code}\b", sent.told), sent.told
            assert len(sink.dumped()) <= 1, "a message has come twice"
            gatepost.stop()

    check.__doc__ = f"{sender.name}, smtp-sink {' '.join(options)}: hears {code}"
    check.cell = (sender.name, "faults", "smtp-sink")
    return check


def nobody_listens(program):
    """no upstream at all: 451 4.4.1 to RCPT"""
    with Gatepost(program, free_port()) as gatepost:
        where, told = first_refusal(gatepost.port)
        same("reply", (where, told[:9]), (RCPT, "451 4.4.1"))
        gatepost.stop()


KILLED_EVERY_SECONDS, SENDING_THREADS = 0.4, 8


def killed_again_and_again(seconds):
    """A check: an upstream that is killed in the middle of everything; clients send until they hear 250."""

    def check(program):
        with DumpingSink() as sink, Gatepost(program, sink.port) as gatepost:
            told, end = [], time.monotonic() + seconds
            threads = [
                threading.Thread(target=send_until, args=(gatepost.port, thread, end, told))
                for thread in range(SENDING_THREADS)
            ]
            for thread in threads:
                thread.start()
            kills = 0
            while any(thread.is_alive() for thread in threads):
                time.sleep(KILLED_EVERY_SECONDS)
                if time.monotonic() < end:
                    sink.kill_and_restart()
                    kills += 1
            ambiguous = gatepost.metric(AMBIGUOUS)
            gatepost.stop()
            stored = sink.marks()
        accepted = [mark for mark, reply in told if reply == 250]
        refused = {reply for _, reply in told} - {250}
        assert kills > 2 and len(accepted) > 2 * SENDING_THREADS, f"{kills} kills, {len(accepted)} sent"
        same("replies that are no 250 and no 451", sorted(refused - {451}), [])
        same("lost", sorted(set(accepted) - set(stored)), [])
        doubled = len(stored) - len(set(stored))
        assert doubled <= ambiguous, f"{doubled} are there twice, and {ambiguous:.0f} were in doubt"

    check.__doc__ = f"smtp-sink is killed again and again for {seconds} s: nothing lost, nothing doubled"
    check.cell = ("smtplib", "faults", "smtp-sink")
    return check


def send_until(port, thread, end, told):
    """Messages of one client, each again until it is accepted; every reply is kept."""
    number = 0
    while time.monotonic() < end:
        mark = f"mark-{thread}-{number}"
        reply = reply_to(port, mark)
        told.append((mark, reply))
        if reply == 250:
            number += 1
        else:
            time.sleep(0.02)


def reply_to(port, mark):
    try:
        with smtplib.SMTP("127.0.0.1", port, "app.test", timeout=20) as client:
            text = f"Subject: kept once\r\n\r\n{'x' * 4000}\r\nthe end of {mark}\r\n"
            client.sendmail("a@app.test", ["b@example.net"], text)
            return 250
    except smtplib.SMTPRecipientsRefused as refusal:
        return refusal.recipients["b@example.net"][0]
    except smtplib.SMTPResponseException as refusal:
        return refusal.smtp_code


def quick():
    return [nobody_listens, *(fault(*row) for row in FAULTS), fault(*SILENT), killed_again_and_again(4)]


def whole(senders):
    more = [fault(*row) for row in MORE_FAULTS]
    return [*more, *(heard(sender, *row) for sender in senders for row in HEARD), killed_again_and_again(30)]

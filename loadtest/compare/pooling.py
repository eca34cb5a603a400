#!/usr/bin/env python3
"""What reusing upstream connections is worth, with TLS and AUTH on them.

    source ─ plain text ─► gatepost ─ STARTTLS, AUTH PLAIN ─► simulated smart host

The same load goes through the same gateway twice a round: once with connections that are reused, once
with `max_messages_per_connection = 1`, which is what a relay does that dials for each message. Two
figures each: CPU of the gateway (user and system) per message, and how long a message took from MAIL
to the reply to its data. Quote the ratio: the machine is the same within a run, and only there.

usage: pooling.py [--messages N] [--sessions N] [--size OCTETS] [--rounds N] [--bin DIRECTORY]
Needs the release build of the workspace: cargo build --release --workspace --bins
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
START_TIMEOUT_SECONDS = 20
RUN_TIMEOUT_SECONDS = 300
# What differs. The rest of both configurations is the same text.
VARIANTS = {"reused": "", "a connection per message": "max_messages_per_connection = 1"}

CONFIG = """\
hostname = "relay.example.com"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "none"
[[upstream]]
name = "smarthost"
profile = "smartermail"
hosts = ["{host}"]
tls = "required"
ca_file = "ca.pem"
auth = {{ mechanism = "plain", username = "relay@example.com", password_file = "password" }}
max_connections = {connections}
{lines}
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
[log]
mail = "off"
"""
POLICY = """\
[[entry]]
id = "load"
networks = ["127.0.0.0/8"]
senders = ["*"]
"""


@contextlib.contextmanager
def program(argv, listening, **options):
    """A program that says where it listens, until the block ends."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(listening, line):
                yield process, found[1]
                break
        else:
            raise SystemExit(f"{argv[0]} did not start:\n{''.join(lines)}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=START_TIMEOUT_SECONDS)
        process.kill()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def measure(options, lines):
    """CPU in microseconds per message, and the percentiles of latency in milliseconds."""
    gatepost, loadtest = options.bin / "gatepost", options.bin / "gatepost-loadtest"
    with tempfile.TemporaryDirectory(prefix="pooling.") as directory:
        work = pathlib.Path(directory)
        lifted = ["--limit", "connections=none"]
        simulate = [loadtest, "simulate", "--as", "smartermail", "127.0.0.1:0", "--write-ca", work / "ca.pem", *lifted]
        with program(simulate, r"(127\.0\.0\.1:\d+)") as (_, host):
            (work / "policy.toml").write_text(POLICY)
            (work / "password").write_text("simulated\n")
            (work / "password").chmod(0o600)
            text = CONFIG.format(host=host, lines=lines, connections=options.sessions)
            (work / "gatepost.toml").write_text(text)
            run = [gatepost, "run", "--config", work / "gatepost.toml"]
            with program(run, r"listening.*?(127\.0\.0\.1:\d+)", cwd=work) as (gateway, relay):
                load = [loadtest, "source", relay, "--sessions", options.sessions, "--size", options.size, "--output", "json"]
                load += ["--from", "app@example.com"]
                send = lambda messages: json.loads(subprocess.run(
                    [str(word) for word in [*load, "--messages", messages]],
                    check=True, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS,
                ).stdout)
                send(options.sessions)
                before = cpu_seconds(gateway.pid)
                summary = send(options.messages)
                cpu = (cpu_seconds(gateway.pid) - before) * 1e6 / options.messages
    return cpu, summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release")
    options = parser.parse_args()
    found = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, lines in VARIANTS.items():
            found[name].append(measure(options, lines))
    rows = {name: [statistics.median(column) for column in zip(*map(figures, runs))] for name, runs in found.items()}
    print(f"{'':28}{'CPU µs':>10}{'p50 ms':>10}{'p99 ms':>10}{'messages/s':>12}")
    for name, row in rows.items():
        print(f"{name:28}" + "".join(f"{value:{width}.{digits}f}" for value, width, digits in zip(row, (10, 10, 10, 12), (0, 2, 2, 0))))
    reused, fresh = rows.values()
    print("ratio" + " " * 23 + "".join(f"{b / a:{w}.1f}" for a, b, w in zip(reused, fresh, (10, 10, 10, 12))))


def figures(run):
    cpu, summary = run
    latency = summary["latency_milliseconds"]
    return cpu, latency["p50"], latency["p99"], summary["messages_per_second"]


main()

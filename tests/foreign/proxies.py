"""HAProxy between clients and Gatepost, with the PROXY protocol. Each check takes the program."""

import pathlib
import smtplib

from world import AWKWARD, Gatepost, HAProxy, Keeper, call, same, wait_for

EXAMPLE = pathlib.Path(__file__).parents[2] / "deploy/examples/load-balancer/haproxy.cfg"

# The proxy's own address is on no list; the entry has that of the client.
PROXY, CLIENT, STRANGER = "127.0.0.9", "127.0.0.1", "127.0.0.2"
LISTENER = f'proxy_protocol = "required"\ntrusted_proxies = ["{PROXY}"]'


def headers(gatepost, result):
    return gatepost.metric(f'gatepost_proxy_headers_total{{listener="smtp",result="{result}"}}')


def behind(options):
    """A check: clients keep their address behind HAProxy, and its health checks are no clients."""

    def check(program):
        with (
            Keeper() as keeper,
            Gatepost(program, keeper.port, LISTENER) as gatepost,
            HAProxy(gatepost.port, PROXY, options) as proxy,
        ):
            # HAProxy takes a server that fails three of them out of service.
            wait_for("health checks", lambda: headers(gatepost, "local") >= 5)
            source = (CLIENT, 0)
            with smtplib.SMTP(
                "127.0.0.1", proxy.port, "app.test", timeout=10, source_address=source
            ) as client:
                client.sendmail("a@app.test", ["b@example.net"], AWKWARD, ["BODY=8BITMIME"])
            message = keeper.message()
            assert f"[{CLIENT}]".encode() in message.content[:200], message.content[:200]
            same("content", message.without_trace(), AWKWARD)
            refused(proxy.port, STRANGER, f"{STRANGER} is not on the allow-list")
            # Whoever goes around the proxy is not heard, whatever its address is allowed.
            try:
                smtplib.SMTP("127.0.0.1", gatepost.port, timeout=10, source_address=source)
                raise AssertionError("a client without a header was greeted")
            except (smtplib.SMTPServerDisconnected, ConnectionResetError):
                pass
            for result, count in [("ok", 2), ("untrusted", 1), ("invalid", 0), ("timeout", 0)]:
                same(result, headers(gatepost, result), count)
            log = (gatepost.directory / "mail.jsonl").read_text()
            assert PROXY not in log, log
            told = gatepost.stderr.read_text()
            assert "PROXY" not in told and PROXY not in told, told
            gatepost.stop()

    check.__doc__ = f"HAProxy {options}: the client's own address, and health checks"
    return check


def refused(port, source, told):
    try:
        smtplib.SMTP("127.0.0.1", port, timeout=10, source_address=(source, 0))
        raise AssertionError(f"{source} was accepted")
    except smtplib.SMTPConnectError as refusal:
        assert refusal.smtp_code == 554 and told in refusal.smtp_error.decode(), refusal


def example_is_good(_):
    """HAProxy: takes the example of deploy/"""
    call("haproxy", "-c", "-f", str(EXAMPLE))


CHECKS = [
    example_is_good,
    behind("send-proxy"),
    behind("send-proxy-v2"),
    behind("send-proxy-v2 proxy-v2-options crc32c,unique-id"),
]

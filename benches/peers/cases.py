"""What is measured: the load of each case, how its tool is started, and how its answer is read."""

import dataclasses
import http.client
import os
import re
import socket
import ssl
import subprocess
import time

from stage import HERE, SMALL, Failed, pinned


@dataclasses.dataclass(frozen=True)
class Case:
    key: str
    title: str
    path: str
    tls: bool = False
    # Which tool drives it: wrk, post (wrk with a script), h2load, ab, reuse (openssl s_time), or idle.
    tool: str = "wrk"
    connections: int = 64
    # Plimsoll's bounds: required, goal. Ratios of CPU per request to nginx's; KiB for idle cases.
    bounds: tuple = ()
    # Whether the client can check nothing but RSA.
    rsa: bool = False


CASES = [
    Case("small", "small keep-alive GET", "/small", bounds=(1.00, 0.85)),
    Case("100k", "100 KB body", "/100k", bounds=(1.15, 0.90)),
    Case("1m", "1 MB body", "/1m", connections=16, bounds=(0.80, 0.60)),
    Case("post", "64 KB POST", "/post", tool="post", bounds=(0.90, 0.75)),
    Case("tls", "TLS keep-alive", "/small", tls=True, bounds=(1.00, 0.85)),
    Case("h2", "h2 over TLS, 16 × 16 streams", "/small", tls=True, tool="h2load", connections=16, bounds=(0.80, 0.60)),
    Case("handshake", "TLS handshake per request", "/small", tls=True, tool="ab", connections=16, bounds=(1.30, 1.00)),
    Case("handshake-rsa", "the same with RSA, 2048 bits", "/small", tls=True, tool="ab", connections=16, bounds=(1.30, 1.00), rsa=True),
    Case("handshake-resumed", "the same, each resuming a session", "/small", tls=True, tool="reuse", connections=1, bounds=(1.30, 1.00)),
    Case("idle", "idle keep-alive connection", "/small", tool="idle", connections=2000, bounds=(6, 2)),
    Case("idle-tls", "idle keep-alive connection, TLS", "/small", tls=True, tool="idle", connections=2000, bounds=(24, 12)),
]


class Void(Exception):
    """A run that counts for nothing, and why."""


@dataclasses.dataclass
class Run:
    cpu_micros: float
    requests_per_second: float
    # Share of the wall time that the proxy's tree ran on a core.
    busy: float


def command(case, url, seconds):
    """The tool's command line. None but s_time resumes a TLS session; it and ab dial for each request."""
    connections = str(case.connections)
    if case.tool == "h2load":
        return ["h2load", "-t1", "-c", connections, "-m16", "-D", str(seconds), url]
    if case.tool == "ab":
        return ["ab", "-q", "-s", "10", "-c", connections, "-t", str(seconds), "-n", "100000000", url]
    if case.tool == "reuse":
        # Without a scheme; one connection after the other.
        host, path = url.removeprefix("https://").split("/", 1)
        return ["openssl", "s_time", "-connect", host, "-www", f"/{path}", "-reuse", "-time", str(seconds)]
    script = ["-s", str(HERE / "post.lua")] if case.tool == "post" else []
    return ["wrk", "-t1", "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", *script, url]


def number(pattern, text, default=None):
    found = re.search(pattern, text)
    if found is None:
        if default is None:
            raise Void(f"the load tool's answer was not understood: {text[-400:]}")
        return default
    return float(found.group(1))


def read_wrk(text):
    errors = number(r"Non-2xx or 3xx responses: (\d+)", text, 0.0)
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors += sum(map(int, found.groups())) if found else 0
    return number(r"(\d+) requests in", text), errors, number(r"requests in ([\d.]+)s", text)


def read_h2load(text):
    found = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if found is None:
        raise Void(f"the load tool's answer was not understood: {text[-400:]}")
    done, _, failed, errored, timeout = map(int, found.groups())
    # A run by duration ends with its open streams counted as failed nowhere: whatever stands here happened.
    bad = int(number(r"status codes: \d+ 2xx, (\d+) 3xx", text)) + failed + errored + timeout
    if "Application protocol: h2" not in text:
        raise Void("HTTP/2 was not chosen by ALPN")
    return done, bad, number(r"finished in ([\d.]+)s", text)


def read_ab(text):
    errors = number(r"Failed requests:\s+(\d+)", text) + number(r"Non-2xx responses:\s+(\d+)", text, 0.0)
    errors += number(r"Write errors:\s+(\d+)", text, 0.0)
    return number(r"Complete requests:\s+(\d+)", text), errors, number(r"Time taken for tests:\s+([\d.]+)", text)


def read_reuse(text):
    # `r` for each session that was resumed, `*` and `t` for each that was not.
    found = re.search(r"(\d+) connections in (\d+) real seconds", text)
    if found is None:
        raise Void(f"the load tool's answer was not understood: {text[-400:]}")
    marks = max(re.findall(r"[r*t]{2,}", text), key=len, default="")
    return float(found.group(1)), len(marks) - marks.count("r"), float(found.group(2))


READERS = {"wrk": read_wrk, "post": read_wrk, "h2load": read_h2load, "ab": read_ab, "reuse": read_reuse}


def environment(stage, case):
    """The environment of the load tool: OpenSSL's own configuration says what the client can check."""
    return {**os.environ, "OPENSSL_CONF": f"{stage.folder}/rsa.cnf"} if case.rsa else None


def load(stage, process, case, seconds):
    """One run of a case against a proxy that runs; raises Void when it does not count."""
    url = stage.url(process.name, case.path, case.tls)
    before, began = process.cpu_seconds(), time.monotonic()
    done = subprocess.run(
        command(case, url, seconds), preexec_fn=pinned(stage.load_core), capture_output=True, text=True,
        timeout=seconds + 60, env=environment(stage, case),
    )
    wall, cpu = time.monotonic() - began, process.cpu_seconds() - before
    if not process.alive():
        raise Failed(f"{process.name} ended during a run; its log says:\n{process.log_text()}")
    if done.returncode != 0:
        raise Void(f"{case.tool} ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}")
    requests, errors, elapsed = READERS[case.tool](done.stdout)
    if errors:
        raise Void(f"{errors:.0f} errors in {requests:.0f} requests")
    if requests < 10:
        raise Void(f"only {requests:.0f} requests")
    return Run(cpu / requests * 1e6, requests / elapsed, cpu / wall)


def context():
    """A client that takes the self-signed certificate and speaks HTTP/1.1."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["http/1.1"])
    return made


def check_answer(stage, name, case):
    """Fetches the case's resource once and compares it with what the origin holds."""
    port = stage.ports[name][1 if case.tls else 0]
    if case.tls:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context())
    else:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    post = case.tool == "post"
    try:
        client.request("POST" if post else "GET", case.path, body=b"x" * 65536 if post else None)
        answer = client.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Void(f"{case.path} was not answered: {error}") from error
    finally:
        client.close()
    if post:
        wanted = b"stored"
    elif case.path == "/small":
        wanted = SMALL.encode()
    else:
        wanted = open(stage.bodies + case.path, "rb").read()
    if answer.status != 200 or body != wanted:
        raise Void(f"{name} answered {case.path} with {answer.status} and {len(body)} bytes, not {len(wanted)}")


def ask(client, path):
    """One keep-alive exchange on an open connection, read to its last byte."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while not received.endswith(SMALL.encode()):
        part = client.recv(65536)
        if not part:
            raise Void("the proxy closed an idle connection")
        received += part
    if not received.startswith(b"HTTP/1.1 200"):
        raise Void(f"an idle connection was answered {received[:40]!r}")


def idle(stage, process, case, settle=3.0):
    """Resident bytes per idle connection: open each, one request on each, let the proxy settle.

    The proxy is a fresh one, warmed by 100 connections that are closed again, so that what it
    allocates once is not counted.
    """
    os.sched_setaffinity(0, {stage.load_core})
    port = stage.ports[process.name][1 if case.tls else 0]
    made = context()

    def connect():
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        if case.tls:
            client = made.wrap_socket(client, server_hostname="localhost")
        ask(client, case.path)
        return client

    clients = []
    try:
        for client in [connect() for _ in range(100)]:
            client.close()
        time.sleep(0.5)
        before = process.resident_bytes()
        clients = [connect() for _ in range(case.connections)]
        time.sleep(settle)
        bytes_each = (process.resident_bytes() - before) / case.connections
        for client in clients:
            ask(client, case.path)
    except OSError as error:
        raise Void(f"an idle connection broke: {error}") from error
    finally:
        for client in clients:
            client.close()
    return bytes_each

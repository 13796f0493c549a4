"""What no client library would do: requests in one write, the time at which each event comes."""

import select
import socket
import subprocess
import time

from checks import check, expect


@check("pipelined requests, one write")
def pipelined(stage):
    count = 200
    requests = b"".join(
        b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n%s\r\n" % (n, b"Connection: close\r\n" if n == count else b"")
        for n in range(1, count + 1))
    with socket.create_connection(("127.0.0.1", stage.ports["web"]), 10) as connection:
        connection.sendall(requests)
        reader = connection.makefile("rb")
        for n in range(1, count + 1):
            status, length, _ = read_answer(reader)
            expect((status, length) == (200, n), f"answer {n} is {status} with {length} bytes")
        expect(reader.read() == b"", "bytes after the last answer")
    return f"{count} answers in order over 1 connection"


@check("pipelined POSTs, with bodies")
def pipelined_posts(stage):
    count = 50
    connection = socket.create_connection(("127.0.0.1", stage.ports["web"]), 10)
    with connection:
        for n in range(1, count + 1):
            body = bytes([n]) * (n * 37)
            if n % 2:
                connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            else:
                connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        reader = connection.makefile("rb")
        for n in range(1, count + 1):
            status, _, body = read_answer(reader)
            expect((status, body) == (200, bytes([n]) * (n * 37)), f"answer {n}: {status}, {len(body)} bytes")
    return f"{count} bodies echoed in order"


@check("server-sent events, curl -N")
def events(stage):
    words = []
    for name, option in (("h1", "--http1.1"), ("h2", "--http2-prior-knowledge")):
        for path in ("/sse/10/100", "/h2/sse/10/100"):
            gaps, total = arrivals(["curl", "-sSN", option, f"{stage.web}{path}"])
            expect(len(gaps) == 10, f"{name} {path}: {len(gaps)} events")
            # A proxy that held events back would join some: a gap near nothing, or one that is long.
            expect(all(0.05 < gap < 0.2 for gap in gaps[1:]), f"{name} {path}: gaps {gaps[1:]}")
            expect(gaps[0] < 0.3, f"{name} {path}: the first came after {gaps[0]:.2f} s")
            words.append(f"{max(gaps[1:]) * 1000:.0f} ms")
    return f"4 x 10 events, 100 ms apart; longest gap of each: {', '.join(words)}"


def arrivals(words):
    """The pauses before each event's first line, and the whole time."""
    start = last = time.monotonic()
    gaps = []
    child = subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0)
    try:
        while True:
            expect(select.select([child.stdout], [], [], 10)[0], "no event for 10 s")
            piece = child.stdout.read(65536)
            if not piece:
                break
            now = time.monotonic()
            for _ in range(piece.count(b"data:")):
                gaps.append(now - last)
                last = now
        expect(child.wait(10) == 0, f"curl ended with {child.returncode}")
    finally:
        child.kill()
        child.wait()
    return gaps, time.monotonic() - start


def read_answer(reader):
    """Status, length and body of one answer that has a length or chunks."""
    status = int(reader.readline().split()[1])
    length, chunked = None, False
    while line := reader.readline().strip():
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        chunked |= (name, value.strip()) == (b"transfer-encoding", b"chunked")
    if not chunked:
        expect(length is not None, "an answer without a length")
        return status, length, reader.read(length)
    body = b""
    while size := int(reader.readline(), 16):
        body += reader.read(size)
        reader.readline()
    reader.readline()
    return status, len(body), body

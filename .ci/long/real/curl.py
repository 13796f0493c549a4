"""curl in its variants, one check for each."""

import json
import re
import time

from checks import check, command, expect

PROTOCOLS = {"h1": "--http1.1", "h2": "--http2-prior-knowledge"}
# What curl says of an exchange: the status, the protocol, bytes received, the connections it needed.
SAY = "%{http_code} %{http_version} %{size_download} %{num_connects}"


def curl(*words, within=60):
    return command("curl", "-sS", "--max-time", within, *words, within=within + 10)


@check("curl, HTTP/1.0")
def old(stage):
    head, _, body = curl("--http1.0", "-i", f"{stage.web}/chunked/100000/1000/0").partition(b"\r\n\r\n")
    expect(len(body) == 100000, f"{len(body)} bytes")
    expect(b"chunked" not in head.lower(), "a chunked answer to HTTP/1.0")
    kept = curl("--http1.0", "-H", "Connection: keep-alive", "-w", SAY, "-o", "/dev/null", "-o", "/dev/null",
                f"{stage.web}/bytes/10", f"{stage.web}/bytes/10").decode()
    return f"{len(body)} bytes without chunks, {head.splitlines()[0].decode()}; two in a row: {kept}"


@check("curl, HEAD")
def head(stage):
    words = []
    for name, option in PROTOCOLS.items():
        for path in ("/bytes/12345", "/files/small", "/h2/bytes/12345"):
            answer = curl(option, "-I", "-w", SAY, f"{stage.web}{path}").decode()
            expect(re.search(r"^200 \S+ 0 1$", answer.splitlines()[-1]), f"{name} {path}: {answer}")
            expect(re.search(r"(?im)^content-length: [1-9]", answer), f"{name} {path}: no length: {answer}")
            words.append(f"{name} {path}")
    return f"{len(words)} without a body, with its length"


@check("curl, HTTP/2 on a clear port")
def prior_knowledge(stage):
    said = curl("--http2-prior-knowledge", "-w", SAY, "-o", "/dev/null", f"{stage.web}/bytes/1000").decode()
    expect(said == "200 2 1000 1", said)
    behind = json.loads(curl("--http2-prior-knowledge", "-H", "X-One: 1", f"{stage.web}/h2/headers"))
    fields = {name.lower(): value for name, value in pairs(behind)}
    expect(fields.get("x-one") == "1" and "x-forwarded-for" in fields, behind)
    return f"{said}; forwarded for {fields['x-forwarded-for']}"


@check("curl, TLS, ALPN")
def alpn(stage):
    words = []
    for option, version in (("--http1.1", "1.1"), ("--http2", "2")):
        said = curl(option, "--cacert", stage.authority, "-w", SAY, "-o", "/dev/null",
                    f"{stage.secure}/bytes/1000").decode()
        expect(said == f"200 {version} 1000 1", said)
        words.append(said)
    return " and ".join(words)


@check("curl, Expect: 100-continue")
def expect_continue(stage):
    body = stage.home / "body"
    body.write_bytes(bytes(range(256)) * 4096)
    words = []
    for path in ("/checksum", "/expect"):
        start = time.monotonic()
        verbose = command("curl", "-sv", "--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "20",
                          "-T", body, "-X", "POST", f"{stage.web}{path}", stderr_too=True).decode(errors="replace")
        took = time.monotonic() - start
        expect("< HTTP/1.1 100" in verbose, f"{path}: no 100")
        expect("< HTTP/1.1 200" in verbose, f"{path}: {verbose[-300:]}")
        expect("1048576" in verbose.splitlines()[-1] or '"length":1048576' in verbose, f"{path}: {verbose[-200:]}")
        expect(took < 5, f"{path}: waited {took:.1f} s")
        words.append(f"{path} {took * 1000:.0f} ms")
    refused = command("curl", "-sv", "--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "20",
                      "-T", body, f"{stage.web}/expect/417", stderr_too=True).decode(errors="replace")
    expect("< HTTP/1.1 417" in refused and "< HTTP/1.1 100" not in refused, refused[-300:])
    # Few servers say 100 over HTTP/2, so that the client goes on by itself.
    summed = curl("--http1.1", "-H", "Expect: 100-continue", "-T", body, f"{stage.web}/h2/checksum")
    expect(b"1048576" in summed, summed)
    return "100 first: " + ", ".join(words) + "; 417 passed without 100"


@check("curl, Unix socket")
def unix(stage):
    words = []
    for name, option in PROTOCOLS.items():
        said = curl(option, "--unix-socket", stage.unix, "-w", SAY, "-o", "/dev/null", "http://any/bytes/1000").decode()
        expect(re.fullmatch(r"200 (1\.1|2) 1000 1", said), f"{name}: {said}")
        words.append(said)
    return " and ".join(words)


@check("curl, keep-alive over 50 requests")
def keep_alive(stage):
    urls = [word for _ in range(50) for word in ("-o", "/dev/null", f"{stage.web}/bytes/2000")]
    lines = curl("-w", SAY + "\\n", *urls).decode().splitlines()
    expect(len(lines) == 50 and all(line.startswith("200 1.1 2000") for line in lines), lines[-1])
    connections = sum(int(line.split()[-1]) for line in lines)
    expect(connections == 1, f"{connections} connections")
    return "50 answers over 1 connection"


@check("curl, 103 before the answer")
def early_hints(stage):
    head = curl("-i", "--http1.1", f"{stage.web}/early/50").decode()
    expect(head.startswith("HTTP/1.1 103"), head[:200])
    expect("HTTP/1.1 200" in head, head)
    return "103, then 200"


@check("curl, trailers")
def trailers(stage):
    said = curl("-i", "--http2-prior-knowledge", f"{stage.web}/trailers").decode(errors="replace").lower()
    expect("x-checksum" in said, said[:300])
    said = curl("-i", "--http1.1", "-H", "TE: trailers", f"{stage.web}/trailers").decode(errors="replace").lower()
    expect("x-checksum" in said, said[:300])
    return "h2 and h1"


@check("curl, WebDAV PUT to nginx and range")
def put_and_range(stage):
    body = bytes(range(256)) * 1000
    (stage.home / "body").write_bytes(body)
    said = curl("-T", stage.home / "body", "-w", SAY, f"{stage.web}/stored/a%20b/c").decode()
    expect(said.split()[-4] == "201", said)
    part = curl("-r", "100-299", f"{stage.web}/stored/a%20b/c")
    expect(part == body[100:300], f"{len(part)} bytes")
    return "201, and bytes 100-299 equal"


def pairs(answer):
    """The fields of `/headers`, however they are shaped."""
    fields = answer["fields"] if "fields" in answer else answer["headers"]
    return fields.items() if isinstance(fields, dict) else [tuple(one) for one in fields]

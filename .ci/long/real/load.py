"""Load generators: many requests at once, none of which may fail."""

import re

from checks import check, command, expect


@check("wrk, 64 connections, 10 s")
def wrk(stage):
    return run_wrk(stage, f"{stage.web}/", 10)


@check("wrk, nginx behind, 5 s")
def wrk_nginx(stage):
    return run_wrk(stage, f"{stage.web}/files/small", 5)


@check("wrk, TLS, 5 s")
def wrk_tls(stage):
    return run_wrk(stage, f"{stage.secure}/", 5)


@check("h2load, clear, 16 x 16")
def h2load_clear(stage):
    return run_h2load(f"{stage.web}/", 20000)


@check("h2load, TLS, 16 x 16")
def h2load_tls(stage):
    return run_h2load(f"{stage.secure}/", 20000)


@check("h2load, TLS, h2 behind")
def h2load_h2(stage):
    return run_h2load(f"{stage.secure}/h2/", 20000)


@check("h2load, TLS, 100 KB")
def h2load_large(stage):
    return run_h2load(f"{stage.secure}/bytes/100000", 2000)


def run_wrk(stage, url, seconds):
    out = command("wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "--latency", url).decode()
    requests = int(re.search(r"(\d+) requests in", out)[1])
    expect("Socket errors" not in out, re.findall(r"Socket errors.*", out))
    expect("Non-2xx" not in out, re.findall(r"Non-2xx.*", out))
    expect(requests > 100 * seconds, f"only {requests} requests")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    slow = re.search(r"99%\s+(\S+)", out)[1]
    return f"{requests} requests, {rate:.0f}/s, p99 {slow}, no error"


def run_h2load(url, requests):
    out = command("h2load", "-n", requests, "-c", "16", "-m", "16", url).decode()
    done = re.search(r"requests: .*? (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    counts = [int(one) for one in done.groups()]
    expect(counts == [requests, requests, 0, 0, 0], done[0])
    status = re.search(r"status codes: (\d+) 2xx", out)
    expect(int(status[1]) == requests, status[0])
    expect("Application protocol: h2" in out, "not HTTP/2")
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", out)[1])
    return f"{requests} of {requests} succeeded, {rate:.0f}/s"

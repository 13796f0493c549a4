#!/usr/bin/env python3
"""Counts what one small keep-alive GET costs a proxy: system calls (strace) or instructions (callgrind).

Two runs with N and 2N requests; their difference divided by N leaves start, end and connections out.
Both counts hardly depend on what else the machine does, so that they can be bounds in CI.
"""

import sys

sys.dont_write_bytecode = True  # Nothing beside the sources.

import argparse
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess

from stage import ROOT, Failed, Stage, pinned, say, tree

CONNECTIONS = 64


def calls(files):
    """System calls by name, from the table of `strace -c`."""
    counted = collections.Counter()
    for line in files[0].read_text().splitlines():
        found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if found and found.group(2) != "total":
            counted[found.group(2)] += int(found.group(1))
    return counted


def instructions(files):
    """Instructions of all processes, from callgrind's files. What the gathering of entropy takes at the start differs from
    run to run by more than what is measured, so it is left out."""
    return collections.Counter(instructions=sum(
        cost for each in files for file, cost in costs(each) if "jitterentropy" not in file))


def costs(profile):
    """The source file and the own cost of each line of a callgrind profile."""
    names, current, is_call = {}, "", False
    with profile.open(errors="replace") as lines:
        for line in lines:
            kind, is_named, name = line.rstrip().partition("=")
            if is_named and kind in ("fl", "fi", "fe", "cfi", "cfl"):
                # Written out once, by its number from then on.
                number, _, name = name.partition(" ")
                named = names.setdefault(number, name)
                current = current if kind.startswith("c") else named
            elif line.startswith("calls="):
                is_call = True
            elif line[:1] in "+-*0123456789":
                # The line after a call has the cost of what was called, which is told of where it arose.
                if not is_call:
                    yield current, int(line.split()[1])
                is_call = False


TRACERS = {
    "calls": ("strace", calls, lambda folder: ["strace", "-f", "-c", "-o", f"{folder}/out"]),
    "instructions": ("valgrind", instructions, lambda folder: [
        "valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={folder}/out.%p"]),
}


def run(chosen, requests, folder):
    """One traced proxy under `requests` requests; what its tracer counted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _, read, prefix = TRACERS[chosen.what]
    programs = {"nginx": "nginx", "haproxy": "haproxy", "plimsoll": str(chosen.plimsoll.resolve())}
    with Stage(programs, chosen.proxy_core, chosen.load_core) as stage:
        process = stage.start(chosen.peer, prefix(folder))
        done = subprocess.run(
            ["h2load", "--h1", "-t1", "-c", str(CONNECTIONS), "-n", str(requests), stage.url(chosen.peer, "/small")],
            preexec_fn=pinned(stage.load_core), capture_output=True, text=True,
        )
        if f"status codes: {requests} 2xx" not in done.stdout:
            raise Failed(f"not every request was answered: {done.stdout[-500:]}{done.stderr[-500:]}")
        # The traced program ends in its own way, so that the tracer writes its counts: strace's own
        # child, or the process itself where the tracer lives in it.
        traced = tree(process.child.pid)
        os.kill(traced[1] if chosen.what == "calls" else traced[0], signal.SIGTERM)
        try:
            process.child.wait(60)
        except subprocess.TimeoutExpired:
            raise Failed(f"{chosen.peer} does not end at TERM; its log says:\n{process.log_text()}") from None
        stage.end(process)
    files = [each for each in sorted(folder.iterdir()) if each.name.startswith("out")]
    if not files:
        raise Failed(f"{chosen.what}: nothing was written")
    return read(files), files


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=TRACERS)
    parser.add_argument("--requests", type=int, default=20_000, metavar="N")
    parser.add_argument("--peer", choices=["plimsoll", "nginx", "haproxy"], default="plimsoll")
    parser.add_argument("--plimsoll", type=pathlib.Path, default=ROOT / "target/release/plimsoll", metavar="PATH")
    parser.add_argument("--at-most", type=float, metavar="COUNT", help="fail when the total per request is above it")
    parser.add_argument("--profile", type=int, default=0, metavar="LINES", help="of callgrind_annotate, by function")
    parser.add_argument("--proxy-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    chosen = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    tool = TRACERS[chosen.what][0]
    for program in (tool, "h2load", "nginx"):
        if not shutil.which(program):
            sys.exit(f"{program} is not there: apt-get install {dict(h2load='nghttp2-client').get(program, program)}")
    folder = ROOT / "target/peers" / chosen.what
    try:
        say(f"{chosen.peer}: {chosen.requests} requests under {tool}")
        once, _ = run(chosen, chosen.requests, folder)
        say(f"{chosen.peer}: {2 * chosen.requests} requests under {tool}")
        twice, files = run(chosen, 2 * chosen.requests, folder)
    except Failed as reason:
        sys.exit(f"failed: {reason}")
    each = {name: (twice[name] - once[name]) / chosen.requests for name in twice}
    for name, count in sorted(each.items(), key=lambda pair: -pair[1]):
        if count >= 0.001:
            print(f"{name:<20} {count:12.3f} per request")
    total = sum(each.values())
    print(f"{'total':<20} {total:12.3f} per request")
    if chosen.profile and chosen.what == "instructions":
        shown = subprocess.run(["callgrind_annotate", "--threshold=95", str(max(files, key=lambda f: f.stat().st_size))],
                               capture_output=True, text=True)
        print("\n".join(shown.stdout.splitlines()[:chosen.profile]))
    if chosen.at_most is not None and total > chosen.at_most:
        sys.exit(f"{total:.3f} {chosen.what} per request is above {chosen.at_most:g}")


if __name__ == "__main__":
    main()

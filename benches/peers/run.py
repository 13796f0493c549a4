#!/usr/bin/env python3
"""Measures Plimsoll beside nginx, HAProxy and Envoy: CPU per request, and memory per idle connection.

The proxy runs on one core; load and origin on another. Runs are interleaved (each round runs each
case once for each peer, every second round in reverse), so that a machine which changes its pace
changes it for all. The figure is the ratio to nginx in the same round, its median over the rounds
with the lowest and the highest. A run with a single error counts for nothing.

    benches/peers/run.py                                  # everything: about 25 minutes
    benches/peers/run.py --cases small,tls --rounds 3 --peers nginx,plimsoll
"""

import sys

sys.dont_write_bytecode = True  # Nothing beside the sources.

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

from cases import CASES, Void, check_answer, idle, load
from stage import HERE, ROOT, Failed, Stage, say

PEERS = ["nginx", "plimsoll", "haproxy", "envoy"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="Cases: " + ", ".join(
        f"{case.key} ({case.title})" for case in CASES))
    parser.add_argument("--cases", default=",".join(case.key for case in CASES), metavar="A,B")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="A,B", help="of " + ", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of load in each run")
    parser.add_argument("--plimsoll", type=pathlib.Path, default=ROOT / "target/release/plimsoll", metavar="PATH")
    parser.add_argument("--proxy-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1, help="of the load and the origin")
    parser.add_argument("--idle-connections", type=int, default=2000)
    parser.add_argument("--markdown", action="store_true", help="print Markdown with versions and command")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run there")
    chosen = parser.parse_args()
    chosen.peers = chosen.peers.split(",")
    known = {case.key: case for case in CASES}
    for name in chosen.peers:
        if name not in PEERS:
            parser.error(f"no peer `{name}`; there are {', '.join(PEERS)}")
    for key in chosen.cases.split(","):
        if key not in known:
            parser.error(f"no case `{key}`; there are {', '.join(known)}")
    chosen.cases = [known[key] for key in chosen.cases.split(",")]
    if not {chosen.proxy_core, chosen.load_core} <= os.sched_getaffinity(0):
        parser.error("this process may not use both cores")
    if "plimsoll" in chosen.peers and not chosen.plimsoll.is_file():
        parser.error(f"{chosen.plimsoll} is not there: cargo build --release, or --plimsoll PATH")
    return chosen


def install():
    """Runs install.sh, whose last line is the path of Envoy."""
    done = subprocess.run([str(HERE / "install.sh")], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split("\n")[-2]


def measure(stage, chosen):
    """`results[case][peer]`: a list over the rounds, a dict of figures or None for a void run."""
    results = {case.key: {name: [] for name in chosen.peers} for case in chosen.cases}
    loads = [case for case in chosen.cases if case.tool != "idle"]
    running, unfit = {}, {}
    if loads:
        for name in chosen.peers:
            running[name] = stage.start(name)
            for case in loads:
                try:
                    check_answer(stage, name, case)
                    load(stage, running[name], case, 1)  # To warm up; its figures are dropped.
                except Void as reason:
                    say(f"{name} is left out of {case.key}: {reason}")
                    unfit[name, case.key] = reason
    for index in range(chosen.rounds):
        order = chosen.peers if index % 2 == 0 else chosen.peers[::-1]
        for case in loads:
            for name in order:
                if (name, case.key) in unfit:
                    results[case.key][name].append(None)
                    continue
                row = attempt(lambda: vars(load(stage, running[name], case, chosen.seconds)))
                results[case.key][name].append(row)
                report(index, chosen.rounds, case, name, row)
    for process in running.values():
        stage.end(process)
    measure_idle(stage, chosen, results)
    return results


def measure_idle(stage, chosen, results):
    """Memory hardly varies: three rounds at most, each with a fresh proxy."""
    rounds = min(chosen.rounds, 3)
    for index in range(rounds):
        for case in chosen.cases:
            if case.tool != "idle":
                continue
            for name in chosen.peers:
                process = stage.start(name)
                row = attempt(lambda: {"bytes": idle(stage, process, case)})
                results[case.key][name].append(row)
                report(index, rounds, case, name, row)
                stage.end(process)


def attempt(run):
    try:
        return run()
    except Void as reason:
        say(f"  void: {reason}")
        return None


def report(index, rounds, case, name, row):
    head = f"round {index + 1}/{rounds}  {case.key:<10} {name:<9}"
    if row is None:
        say(f"{head} void")
    elif "bytes" in row:
        say(f"{head} {row['bytes'] / 1024:9.2f} KiB per connection")
    else:
        say(f"{head} {row['cpu_micros']:9.2f} µs/request  {row['requests_per_second']:9.0f} requests/s"
            f"  {row['busy']:4.0%} busy")


def spread(values):
    """Median, lowest, highest; None of nothing."""
    return (statistics.median(values), min(values), max(values)) if values else None


def figures(case, results, name):
    """What the table says of a peer in a case: absolute, and the ratios to nginx round by round."""
    rows, base = results[case.key][name], results[case.key].get("nginx", [])
    unit = "bytes" if case.tool == "idle" else "cpu_micros"
    absolute = spread([row[unit] for row in rows if row])
    ratio = spread([row[unit] / other[unit] for row, other in zip(rows, base) if row and other and other[unit] > 0])
    return absolute, ratio, sum(row is None for row in rows)


def cell(case, results, name):
    absolute, ratio, void = figures(case, results, name)
    if absolute is None:
        return "void"
    if case.tool == "idle":
        text = f"{absolute[0] / 1024:.1f} KiB"
    else:
        text = f"{absolute[0]:.1f} µs"
        if name != "nginx" and ratio:
            text += f", {ratio[0]:.2f} ({ratio[1]:.2f}..{ratio[2]:.2f})"
    return text + (f", {void} void" if void else "")


def verdict(case, results):
    """Plimsoll's median against the bounds."""
    absolute, ratio, _ = figures(case, results, "plimsoll")
    value = absolute and absolute[0] / 1024 if case.tool == "idle" else ratio and ratio[0]
    required, goal = case.bounds
    if value is None:
        return "not measured"
    if value > required:
        return f"not met (≤ {required:g})"
    return f"goal met (≤ {goal:g})" if value <= goal else f"met (≤ {required:g})"


def table(chosen, results):
    """Columns of one width, which is Markdown and reads as it stands."""
    judged = "plimsoll" in chosen.peers and "nginx" in chosen.peers
    lines = [["case", *chosen.peers, *(["plimsoll's bound"] if judged else [])]]
    for case in chosen.cases:
        cells = [cell(case, results, name) for name in chosen.peers]
        lines.append([case.title, *cells, *([verdict(case, results)] if judged else [])])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in lines)


def version(name, program):
    if name in ("nginx", "haproxy"):
        done = subprocess.run([program, "-v"], capture_output=True, text=True)
    else:
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return f"{name} {found.group(0) if found else 'of unknown version'}"


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main():
    chosen = arguments()
    programs = {"nginx": "nginx", "haproxy": "haproxy", "plimsoll": str(chosen.plimsoll.resolve())}
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    programs["envoy"] = install()
    for case in chosen.cases:
        if case.tool == "idle":
            object.__setattr__(case, "connections", chosen.idle_connections)
    versions = [version(name, programs[name]) for name in chosen.peers]
    try:
        with Stage(programs, chosen.proxy_core, chosen.load_core) as stage:
            results = measure(stage, chosen)
    except Failed as reason:
        sys.exit(f"failed: {reason}")
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started here has been ended")
    about = {
        "processor": processor(), "kernel": platform.release(), "versions": versions,
        "rounds": chosen.rounds, "seconds": chosen.seconds,
    }
    if chosen.json:
        chosen.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    print(table(chosen, results))
    if chosen.markdown:
        print(f"\nCPU per request of the proxy's whole process tree, and its ratio to nginx in the same round: median "
              f"(lowest..highest) of {chosen.rounds} interleaved rounds of {chosen.seconds} s; memory per idle connection "
              f"is the resident set. {', '.join(versions)}; {about['processor']}, Linux {about['kernel']}, "
              f"one core for the proxy, one for load and origin.")
    if any(all(row is None for row in rows) for peers in results.values() for rows in peers.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()

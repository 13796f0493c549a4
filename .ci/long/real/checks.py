"""How a check is written: a function of the stage that returns its numbers in words, or raises `Failed`."""

import subprocess
import time

ALL = []


class Failed(Exception):
    """What did not hold."""


def check(name):
    def keep(function):
        ALL.append((name, function))
        return function

    return keep


def expect(holds, what):
    if not holds:
        raise Failed(what)


def command(*words, within=120, stderr_too=False, **more):
    """Runs a program to its end and gives its output; fails when it does."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, capture_output=True, timeout=within, **more)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end after {within} s: {' '.join(words)}") from None
    if done.returncode:
        tail = (done.stderr + done.stdout)[-600:].decode(errors="replace").strip()
        raise Failed(f"{' '.join(words)} ended with {done.returncode}: {tail}")
    return done.stderr + done.stdout if stderr_too else done.stdout


def run_all(stage, part):
    """Runs those whose name contains `part`; how many failed."""
    failures = 0
    for name, function in ALL:
        if part not in name:
            continue
        start = time.monotonic()
        try:
            verdict, words = "ok  ", function(stage)
            expect(stage.proxy_runs(), "plimsoll ended")
        except Exception as error:  # A check that breaks has failed, whatever broke it.
            verdict, words = "FAIL", f"{type(error).__name__}: {error}"
            failures += 1
        print(f"{verdict} {name:30} {words}  ({time.monotonic() - start:.1f} s)", flush=True)
        if not stage.proxy_runs():
            print(f"plimsoll ended with {stage.proxy.returncode}:\n{stage.said('plimsoll')}", flush=True)
            return failures + 1
    return failures

"""Starts the stage, runs every check and says how many failed. Called by `real.sh`."""

import argparse
import sys

import checks
import stage

# In the order in which they run.
import load  # noqa: F401  # isort: skip
import curl  # noqa: F401  # isort: skip
import raw  # noqa: F401  # isort: skip
import transfer  # noqa: F401  # isort: skip
import websocket  # noqa: F401  # isort: skip
import rpc  # noqa: F401  # isort: skip
import repository  # noqa: F401  # isort: skip

parser = argparse.ArgumentParser()
parser.add_argument("plimsoll")
parser.add_argument("--only", default="")
arguments = parser.parse_args()

with stage.Stage(arguments.plimsoll) as running:
    failures = checks.run_all(running, arguments.only)
    said = running.said("plimsoll")
    if "panicked" in said:
        failures += 1
        print(f"FAIL plimsoll panicked:\n{said}")
print(f"{failures} of the checks failed" if failures else "all checks hold")
sys.exit(1 if failures else 0)

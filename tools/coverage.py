"""`make coverage`: every branch of what is decided is run by the tests, and nearly all of the reconciler.

Two runs of pytest, each with its own bound, since one report has one bound only.
"""

import subprocess
import sys

PURE = (
    "decide",
    "repair",
    "aside",
    "terms",
    "source",
    "copies",
    "points",
    "targets",
    "starts",
    "steps",
    "word",
    "decision",
    "held",
    "rollback",
    "wayback",
    "window",
    "fencing",
    "restart",
    "restoring",
    "placement",
    "tombstones",
    "leftovers",
    "mending",
    "drills/evidence",
    "drills/parts",
    "drills/giving_way",
    "givenup",
    "identity",
    "clocks",
    "resync",
    "late",
    "standing",
    "view",
    "callouts",
    "callout_places",
    "readiness",
    "capacity",
)
"""Modules of dr_provider/reconcile that decide: no branch of them may be left out."""

PURE_BELOW = ("lines",)
"""The same, of dr_provider/protection."""

TESTS = ("tests/reconcile", "tests/protection", "tests/cli", "tests/resources")


def main() -> int:
    coverage = [sys.executable, "-m", "coverage"]
    words = [
        "-q",
        "-n",
        "2",
        "--cov=dr_provider/reconcile",
        "--cov=dr_provider/protection",
        "--cov-branch",
        "--cov-report=",
    ]
    if subprocess.run([sys.executable, "-m", "pytest", *TESTS, *words], check=False).returncode != 0:
        return 1
    pure = ",".join(
        [f"dr_provider/reconcile/{name}.py" for name in PURE]
        + [f"dr_provider/protection/{name}.py" for name in PURE_BELOW]
    )
    reports = (
        [*coverage, "report", f"--include={pure}", "--fail-under=100"],
        [*coverage, "report", "--include=dr_provider/reconcile/*", "--fail-under=95"],
    )
    return max(subprocess.run(report, check=False).returncode for report in reports)


if __name__ == "__main__":
    sys.exit(main())

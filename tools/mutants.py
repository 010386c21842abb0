"""`make mutants`: changes what is decided, one small change at a time, and looks whether a test notices.

A mutant that survives must stand in tests/reconcile/equivalent_mutants.txt with the reason why it changes no action: `removed => added  # reason`, as
lines of the code without their indentation; a line that ends in `...` stands for all that begin so. Ends with 1 where another survives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "mutants"
EQUIVALENT = ROOT / "tests" / "reconcile" / "equivalent_mutants.txt"
REQUIREMENTS = ROOT / "requirements-mutants.txt"

SURVIVED, UNTESTED = 0, 33
"""mutmut's status of a mutant that no test noticed, and of one that no test runs."""


@dataclass(frozen=True)
class Survivor:
    name: str
    removed: str
    added: str

    def __str__(self) -> str:
        return f"{self.removed} => {self.added}"


def _mutmut(*words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "mutmut"), *words]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=quiet, check=False)


def _install() -> None:
    wanted = next(line.split()[0] for line in REQUIREMENTS.read_text().splitlines() if line.startswith("mutmut=="))
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], text=True, capture_output=True, check=True
    )
    if wanted not in listed.stdout.split():
        words = ["install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)


def _survivor(name: str) -> Survivor:
    lines = _mutmut("show", name, quiet=True).stdout.splitlines()
    sides = {
        mark: " ".join(" ".join(line[1:].split()) for line in lines if line.startswith(mark) and line[:3] != mark * 3)
        for mark in "-+"
    }
    return Survivor(name, sides["-"], sides["+"])


def _allowed() -> list[str]:
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines() if EQUIVALENT.exists() else []
    return [line.rpartition("  # ")[0] for line in lines if "  # " in line and not line.startswith("#")]


def _is_allowed(survivor: Survivor, allowed: list[str]) -> bool:
    said = str(survivor)
    return any(said == one or (one.endswith("...") and said.startswith(one[:-3])) for one in allowed)


def main() -> int:
    _install()
    shutil.rmtree(MUTANTS, ignore_errors=True)
    if _mutmut("run", "--max-children", "2").returncode != 0:
        return 1
    statuses: dict[str, int | None] = {}
    for path in MUTANTS.rglob("*.meta"):
        statuses |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    alive = [_survivor(name) for name, status in sorted(statuses.items()) if status in (SURVIVED, UNTESTED, None)]
    allowed = _allowed()
    new = [survivor for survivor in alive if not _is_allowed(survivor, allowed)]
    for survivor in new:
        print(f"{survivor.name}\n    - {survivor.removed}\n    + {survivor.added}")
    known = len(alive) - len(new)
    print(f"mutants: {len(statuses)} tried, {len(alive)} survived, {known} of them known to change no action")
    if not statuses:
        print("mutants: none was made; look at mutmut's words above", file=sys.stderr)
    return 1 if new or not statuses else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make lint`: ruff, mypy and the layers, each run to its end so that one call shows everything."""

import subprocess
import sys
from pathlib import Path

# Those of these that exist; plugins/ has one module, given by name since it is in no package.
CHECKED = ("dr_provider", "stacks", "demo", "bench", "lab", "tools", "tests", "plugins/launcher.py")


def main() -> int:
    scripts = Path(sys.executable).parent
    there = [name for name in CHECKED if Path(name).exists()]
    commands = [
        [str(scripts / "ruff"), "check", "."],
        [str(scripts / "ruff"), "format", "--check", "."],
        [str(scripts / "mypy"), *there],
        [str(scripts / "lint-imports"), "--no-logo"],
    ]
    failed: list[str] = []
    for command in commands:
        name = " ".join([Path(command[0]).name, *command[1:]])
        print(f"lint: {name}", flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    for name in failed:
        print(f"lint: failed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

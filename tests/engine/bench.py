"""A project folder of its own for the real engine: the program, the launcher and a topology, with a backend beside them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dr_provider.cli.simulation import Bench
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.reconcile.protect import ProtectOutcome, protect_plan
from dr_provider.reconcile.status import plan_status
from dr_provider.reconcile.world import World, open_world
from tests.support.topologies import loaded, write_topology

__all__ = ["PULUMI", "ROOT", "Project", "Ran", "python_for_engines"]

ROOT = Path(__file__).resolve().parents[2]
PULUMI = ROOT / ".venv" / "bin" / "pulumi"


def python_for_engines(folder: Path) -> Path:
    """A Python for `Project`, which asks pip only once."""
    script = folder / "python"
    script.write_text(_PYTHON.format(python=shlex.quote(sys.executable)))
    script.chmod(0o755)
    return script


@dataclass(frozen=True)
class Ran:
    """How a run of the engine ended, and all that it said."""

    status: int
    text: str

    def __str__(self) -> str:
        return f"status {self.status}\n{self.text}"


# The language host asks which packages there are before each run of a program; within a run of the tests they stay the same.
_PYTHON = """#!/bin/sh
if [ "$1 $2 $3" = "-m pip list" ]; then
    [ -f "$0.packages" ] || {{ {python} "$@" >"$0.packages.$$" && mv "$0.packages.$$" "$0.packages"; }} || exit 1
    exec cat "$0.packages"
fi
exec {python} "$@"
"""


@dataclass
class Project:
    """`folder` holds Pulumi.yaml, stacks/ and plugins/ as this checkout has them, and the embedded arrays and hosts; one that is there is
    gone on with. `python`: what the engine is to run Python with (None: this one)."""

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path | None = None

    def __post_init__(self) -> None:
        stacks = self.folder / "stacks"
        self.topology_file = stacks / "topology.yaml"
        if not stacks.exists():
            self._lay_out(stacks)

    def _lay_out(self, stacks: Path) -> None:
        stacks.mkdir(parents=True)
        (self.folder / "Pulumi.yaml").write_bytes((ROOT / "Pulumi.yaml").read_bytes())
        (stacks / "__main__.py").write_bytes((ROOT / "stacks" / "__main__.py").read_bytes())
        for name in ("plugins", ".venv"):
            (self.folder / name).symlink_to(ROOT / name)
        write_topology(stacks, **self.options)
        for name in ("backend", "home"):
            (self.folder / name).mkdir()

    # -- the engine ---------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        return {
            **kept,
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{kept.get('PATH', '')}",
            "PULUMI_BACKEND_URL": (self.folder / "backend").as_uri(),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_PYTHON_CMD": str(self.python or sys.executable),
        }

    def command(self, *words: str, stack: str = "prod") -> list[str]:
        chosen = [] if words[0] in ("stack", "version") else ["--stack", stack]
        return [str(PULUMI), *words, *chosen, "--non-interactive", "--color", "never"]

    def run(self, *words: str, stack: str = "prod", ok: bool | None = True, timeout: float = 120) -> Ran:
        """Run the engine; `ok` None: whatever its status."""
        done = subprocess.run(
            self.command(*words, stack=stack),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        ran = Ran(done.returncode, done.stdout)
        assert ok is None or (ran.status == 0) == ok, str(ran)
        return ran

    def make_stack(self, stack: str = "prod", **config: Any) -> None:
        self.run("stack", "init", stack)
        self.configure(stack, topology=str(self.topology_file), **config)

    def configure(self, stack: str = "prod", /, **config: Any) -> None:
        """Write the stack's config, as an editor would: what is given is all there is, beside what `up` itself put in."""
        path = self.folder / "stacks" / f"Pulumi.{stack}.yaml"
        known = path.read_text() if path.exists() else ""
        kept = [line for line in known.splitlines() if line.startswith("encryptionsalt")]
        config.setdefault("topology", str(self.topology_file))
        lines = [f"  dr:{key}: {json.dumps(value)}" for key, value in config.items()]
        path.write_text("\n".join([*kept, "config:", *lines]) + "\n")

    def up(self, *words: str, stack: str = "prod", ok: bool | None = True) -> Ran:
        return self.run("up", "--yes", "--skip-preview", *words, stack=stack, ok=ok)

    def preview(self, *words: str, stack: str = "prod", ok: bool | None = True) -> Ran:
        return self.run("preview", *words, stack=stack, ok=ok)

    def no_changes(self, stack: str = "prod") -> Ran:
        """A preview that must find nothing to do."""
        return self.preview("--expect-no-changes", stack=stack)

    def exports(self, stack: str = "prod") -> Any:
        ran = self.run("stack", "output", "--json", "--stack", stack)
        return json.loads(ran.text)

    # -- what is there ------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        return loaded(self.topology_file)

    @property
    def bench(self) -> Bench:
        return Bench(self.topology)

    def world(self) -> World:
        return open_world(self.topology)

    def seen(self) -> Observation:
        return self.world().look()

    def status(self) -> dict[str, Any]:
        return dict(plan_status(self.world().view("shop")))

    def protect(self) -> ProtectOutcome:
        outcome = protect_plan(self.world(), "shop", now=True)
        assert not outcome.failures
        return outcome

    def write(self, count: int = 10) -> None:
        """Every guest's application writes, and writes out what it can."""
        for vm in self.topology.vms:
            self.bench.write(vm, count)

    def running(self) -> dict[str, str]:
        """Where each VM runs, drills' VMs among them: {name on its host: host}; one that runs twice shows as an error."""
        found: dict[str, str] = {}
        for host in self.topology.hosts:
            state = self.seen().host(host)
            for vm in state.vms.values() if state else ():
                if vm.state == "running":
                    assert vm.name not in found, f"{vm.name} runs on {found[vm.name]} and on {host}"
                    found[vm.name] = host
        return found

    def production(self) -> dict[str, Any]:
        """Data, maps and VMs, as arrays and hosts show them, but for who owns them."""
        seen = self.seen()
        arrays = {
            name: {
                volume.name: (volume.size, volume.writable, {lun.name: lun.mapped_to for lun in volume.luns.values()})
                for volume in state.volumes.values()
            }
            for name in seen.arrays
            if (state := seen.array(name)) is not None
        }
        ledgers = {vm: self.bench.ledger(vm).last for vm in self.topology.vms}
        starts = dict(sorted(self.running().items()))
        return {"arrays": arrays, "ledgers": ledgers, "running": starts}

"""A plan of two VMs on two volumes, real from end to end: made, moved and looked at through `dr` as an operator does, and checked behind its back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from demo.lab_guests import ledger_of_image
from dr_provider.model.errors import DrError
from dr_provider.model.loader import load
from dr_provider.model.topology import Topology
from dr_provider.reconcile.decision import Decision, Want
from dr_provider.reconcile.outcome import Outcome
from dr_provider.reconcile.protect import ProtectOutcome, protect_plan
from dr_provider.reconcile.run import decide_plan, run_plan
from dr_provider.reconcile.status import status_document
from dr_provider.reconcile.world import World, open_world
from lab.machines import Lab, Machine
from tests.lab_stack.support.guests import Guest, Ledger
from tests.lab_stack.support.machines import exports, hosts, running, wait
from tests.lab_stack.support.strikes import struck

__all__ = ["PLAN", "VMS", "Running", "Said", "Shop"]

PLAN = "shop"
VMS = ("db", "web")
BUDGET = "10s"
"""How long a silent site holds up a command."""
_LIMIT = 240.0
_OTHER = {"east": "west", "west": "east"}
_PATIENT = 3
"""Looks at machines that are on: one of a machine that is busy otherwise may take longer than the budget for silence."""


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """All sentences on one line each, as a person reads them."""
        return f"{self.out}\n{self.err}"

    def __str__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


class Running:
    """A `dr` that is under way; what it says on stderr is there at once."""

    def __init__(self, argv: list[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._parts: tuple[list[str], list[str]] = ([], [])
        streams = (self.process.stdout, self.process.stderr)
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in zip(streams, self._parts, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, into: list[str]) -> None:
        into.extend(iter(stream.readline, ""))

    @property
    def err(self) -> str:
        return "".join(self._parts[1])

    def until(self, what: str, check: Callable[[], object]) -> None:
        """Wait for a condition while the command is under way; fails where the command ends before."""

        def now() -> bool:
            assert self.process.poll() is None, f"it ended before {what}: {self.ended()}"
            return bool(check())

        wait(what, now)

    def said(self, pattern: str) -> None:
        """Wait until it has said so."""
        self.until(f"{pattern!r} to be said; {self.err}", lambda: re.search(pattern, self.err))

    def ended(self, *, ok: bool | None = None) -> Said:
        status = self.process.wait(timeout=_LIMIT)
        for reader in self._readers:
            # What it started may keep the pipe open after its end.
            reader.join(timeout=5)
        said = Said(status, *("".join(part) for part in self._parts))
        assert ok is None or (said.status == 0) == ok, str(said)
        return said


class Shop:
    """`here` is where the plan is active as the last move left it, `there` the other site."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.file = folder / "topology.yaml"
        self.here = "east"
        self._begun: list[Running] = []
        self.document = _document(lab)
        self.write_topology()

    @property
    def there(self) -> str:
        return _OTHER[self.here]

    def write_topology(self, change: Callable[[dict[str, Any]], None] | None = None, file: str = "") -> Path:
        """Write the topology, changed if asked, to its own file or another of the folder."""
        document = json.loads(json.dumps(self.document))
        if change is not None:
            change(document)
        path = self.folder / file if file else self.file
        # JSON is YAML too.
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
        return path

    @property
    def topology(self) -> Topology:
        return load(self.file)

    def world(self) -> World:
        return open_world(self.topology)

    # -- the operator -------------------------------------------------------------------------------

    def begin(self, *words: str, file: Path | None = None, program: str = "dr_provider.cli.main") -> Running:
        argv = [sys.executable, "-m", program, *words, "--topology", str(file or self.file), "--json"]
        running = Running(argv, {**os.environ, "NO_COLOR": "1"})
        self._begun = [one for one in self._begun if one.process.poll() is None]
        self._begun.append(running)
        return running

    def end_what_runs(self) -> list[str]:
        """Kill every command that is still under way; how each was called."""
        left, self._begun = [one for one in self._begun if one.process.poll() is None], []
        for one in left:
            one.process.kill()
            one.process.wait()
        return [" ".join(map(str, cast("list[str]", one.process.args))) for one in left]

    def dr(self, *words: str, ok: bool | None = True, file: Path | None = None) -> Said:
        """`dr WORDS --json`; `ok` None: however it ends."""
        return self.begin(*words, file=file).ended(ok=ok)

    def protect(self, *, ok: bool | None = True) -> Said:
        return self.dr("protect", PLAN, "--now", ok=ok)

    def move(self, site: str, *words: str, ok: bool | None = True) -> Said:
        said = self.dr("failover", PLAN, "--to", site, "--yes", *words, ok=ok)
        if said.status == 0:
            self.here = site
        return said

    def move_struck(
        self, site: str, verb: str, when: Literal["before", "after"], fault: Callable[[], object]
    ) -> Outcome | DrError:
        """A move in this process, with a fault right before or after its first action of that verb; how it ended."""
        world = self.world()
        try:
            with struck(verb, when, fault):
                outcome = run_plan(world, PLAN, Want(site=site, by="test"))
        except DrError as error:
            return error
        finally:
            world.close()
        self.here = site
        return outcome

    def foretold(self, site: str) -> dict[str, Any]:
        """What a move would be; nothing is done."""
        found: dict[str, Any] = self.dr("failover", PLAN, "--to", site, "--dry-run").json
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.dr("status").json["plans"][PLAN]
        return found

    def silent(self) -> dict[str, str]:
        """Why an array or a host says nothing, by its name."""
        found: dict[str, str] = self.dr("status").json["silent"]
        return found

    def mirrors(self) -> set[str]:
        """The states of all mirrors."""
        return {mirror["state"] for mirror in self.status()["mirrors"]}

    def points_at(self, site: str) -> set[str]:
        """Recovery points that are whole at a site."""
        found = self.dr("points", PLAN).json["points"]
        return {point["id"] for point in found if point["sites"].get(site, {}).get("complete")}

    def word(self, reason: str = "power lost, confirmed by phone") -> tuple[str, str]:
        return ("--force", f"{self.status()['epoch']}: {reason}")

    # -- machines -----------------------------------------------------------------------------------

    def array(self, site: str) -> Machine:
        return self.lab.machine(f"{site}-a")

    def hosts(self, site: str) -> list[Machine]:
        return hosts(self.lab, site)

    def guest(self, vm: str, site: str | None = None) -> Guest:
        """The guest where it runs; of several (at two sites), the one at `site`."""
        found = [name for name in running(self.lab).get(vm, []) if site is None or name.startswith(f"{site}-")]
        assert len(found) == 1, f"guest {vm} runs on {found or 'no host'}"
        return Guest(self.lab.machine(found[0]), vm)

    def address(self, vm: str) -> str:
        """The guest's own address, at the site where the plan is active."""
        (nic,) = self.document["vms"][vm]["nics"]
        return str(nic["address"][self.here]).partition("/")[0]

    # -- data ---------------------------------------------------------------------------------------

    def write(self, count: int = 10, site: str | None = None) -> dict[str, int]:
        """Every application writes and writes out; the last entry of each that is on its disk."""
        found = {}
        for vm in VMS:
            guest = self.guest(vm, site)
            guest.ledger("add", str(count))
            found[vm] = guest.ledger("flush").last
        return found

    def ballast(self, vm: str, mebibytes: int) -> None:
        """Data in the guest's file system that does not compress and was not there before."""
        words = f"dd if=/dev/urandom of=/data/ballast bs=1M count={mebibytes} conv=fsync 2>/dev/null"
        self.guest(vm).run("/bin/sh", "-c", words)

    def last(self, site: str | None = None) -> dict[str, int]:
        return {vm: self.guest(vm, site).ledger().last for vm in VMS}

    def ledger_of_safety(self, name: str, vm: str) -> Ledger:
        """What a safety copy holds of a VM's disk."""
        target = self.folder / f"{name.replace(':', '-')}.img"
        self.dr("safety", "export", name, f"{vm}.root", str(target))
        sites = {machine.name: machine.site for machine in hosts(self.lab)}
        found = ledger_of_image(target, sites)
        return Ledger(found.last, found.buffered, found.intact, found.boots, problem=found.problem)

    def safety_copies(self, volume: str) -> set[str]:
        found = self.dr("safety", "list").json
        return {copy["name"] for copy in found["copies"] if copy["volume"] == volume}

    # -- what must be so ----------------------------------------------------------------------------

    def one_writer(self) -> None:
        """Each guest runs on one host, at the active site, and nobody else may open its disks, by what tgt and libvirt say themselves."""
        found = running(self.lab)
        assert {vm: len(found.get(vm, [])) for vm in VMS} == dict.fromkeys(VMS, 1), found
        for vm in VMS:
            assert found[vm][0].startswith(self.here), f"{vm} runs on {found[vm][0]}, and the plan is at {self.here}"
        others = exports(self.array(self.there)) if self.array(self.there).alive else {}
        assert others == {}, f"{self.there} offers disks: {others}"
        offered = exports(self.array(self.here))
        for vm in VMS:
            mine = [initiators for name, initiators in offered.items() if f":{vm}.root" in name]
            assert [len(initiators) for initiators in mine] == [1], f"{vm}: {offered}"

    def well(self, last: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Protected, nothing degraded, one writer, ledgers whole and ending at `last`; and every guest was last started where it runs."""
        for _ in range(_PATIENT):
            outcome, now, left = self._report()
            if not now["silent"]:
                break
        assert outcome.failures == (), outcome
        assert (left.actions, left.refused) == ((), ()), left
        assert (now["activeSite"], now["phase"], now["degraded"], now["protected"]) == (
            self.here,
            "steady",
            [],
            True,
        ), now
        assert {mirror["state"] for mirror in now["mirrors"]} == {"synced"}, now
        assert {vm: state["state"] for vm, state in now["vms"].items()} == dict.fromkeys(VMS, "running"), now
        self.one_writer()
        for vm in VMS:
            guest = self.guest(vm)
            ledger = guest.ledger()
            assert ledger.intact, f"{vm}: {ledger.problem}"
            assert ledger.boots[-1] == guest.host.name, ledger
            assert not ledger.frozen
            assert guest.thawed()
            if last is not None:
                assert ledger.last == last[vm], f"{vm}: {ledger} where {last[vm]} was to be the last"
        return now

    def _report(self) -> tuple[ProtectOutcome, dict[str, Any], Decision]:
        """Protected once more, the plan's status (`silent`: who gave no answer), and what is left to do."""
        # One process for all three: each has to reach six machines anew.
        world = self.world()
        try:
            outcome = protect_plan(world, PLAN, now=True)
            document = status_document(world)
            left = decide_plan(world, PLAN, Want(site=self.here, by="test"), refresh=True)
        finally:
            world.close()
        return outcome, {**document["plans"][PLAN], "silent": document.get("silent", {})}, left


def _document(lab: Lab) -> dict[str, Any]:
    devices = lab.topology_options()
    image = str(lab.names.guest / "ledger.img")
    for keys in devices.values():
        if keys["driver"] == "libvirt":
            # Guests write only what they are asked to, so that each number is exact.
            keys["boot"] = {**keys["boot"], "cmdline": f"{keys['boot']['cmdline']} ledger=idle"}
        else:
            # A cut link is to be one: else what is sent goes round by the operator's machine.
            keys["transfer"] = "direct"
    return {
        "version": 1,
        "name": "lab-stack",
        "sourceBudget": BUDGET,
        "sites": {"east": {}, "west": {}},
        "arrays": {name: keys for name, keys in devices.items() if keys["driver"] == "zfs"},
        "hosts": {name: keys for name, keys in devices.items() if keys["driver"] == "libvirt"},
        "networks": {"prod": {"east": "br-prod", "west": "br-prod", "drill": "br-drill"}},
        "volumes": {vm: {"size": "512MiB", "home": "east-a", "copies": ["west-a"]} for vm in VMS},
        "vms": {vm: _vm(lab, number, vm, image) for number, vm in enumerate(VMS, 101)},
        "plans": {
            PLAN: {
                "sites": ["east", "west"],
                "tiers": [{"members": list(VMS)}],
                "backup": {"every": "15m", "consistency": "application", "keep": {"last": 8}},
                "replicate": {"every": "5m"},
            }
        },
    }


def _vm(lab: Lab, number: int, vm: str, image: str) -> dict[str, Any]:
    address = {site: f"{lab.names.guest_address(site, number)}/16" for site in ("east", "west")}
    return {
        "cpus": 1,
        "memory": "192MiB",
        "disks": {"root": {"volume": vm, "size": "64MiB", "image": image}},
        "nics": [{"network": "prod", "address": {**address, "drill": f"172.31.{lab.names.k}.{number}/24"}}],
        "health": {"agent": True, "within": "2m"},
    }

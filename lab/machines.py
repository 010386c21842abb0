"""The lab and its machines, for tests, the demo and the benchmarks.

    lab = Lab.find("lab")
    lab.machine("east-a").exec(["zfs", "list"]).out
    lab.cut("east", "west"); lab.heal()
    lab.lose_site("east"); lab.return_site("east")

Everything waits for what it caused, bounded, and raises LabError with a sentence when it does not come about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import folder as folders
from lab import image, needs, topology
from lab.config import write_cut, write_keys, write_machine
from lab.layout import BASE, OPERATOR, SITES, LabError, MachineSpec, Names, specs
from lab.network import claim_bridge, plug_in, remove_links
from lab.options import options
from lab.power import Power
from lab.run import Result, last_lines, run, wait_for

__all__ = ["POOL_SIZE", "Lab", "Machine"]

POOL_SIZE = 8 * 1024**3
"""Bytes that an array's pool may grow to; its file is sparse."""

_BOOT = Path(__file__).with_name("boot.py")


class Machine:
    """One machine of a lab."""

    def __init__(self, names: Names, spec: MachineSpec) -> None:
        self._names, self.spec = names, spec
        self.name, self.site, self.role = spec.name, spec.site, spec.role
        self.address = names.address(spec)
        self.folder = names.machine(spec.name)
        self._power = Power(spec.name, self.folder)

    @property
    def alive(self) -> bool:
        """Whether the machine is switched on."""
        return self._power.init() is not None

    def _enter(self) -> list[str]:
        init = self._power.init()
        if init is None:
            raise LabError(f"machine {self.name} is off; switch it on: python -m lab start {self.name}")
        return ["nsenter", "-t", str(init.pid), "-m", "-n", "-u", "-i", "-p", "--wd=/", "--"]

    def enter(self, words: Sequence[str]) -> list[str]:
        """The words with which a process of this machine runs a command inside the machine, as its root."""
        return [*self._enter(), *words]

    def exec(
        self,
        words: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002
        check: bool = True,
        timeout: float = 60.0,
    ) -> Result:
        """Run a command inside. Raises LabError when the machine is off, or (with `check`) the command fails.

        It is ended after `timeout` seconds; the result is then 124.
        """
        bounded = ["timeout", "--kill-after=1", f"{timeout:g}", *words]
        return run(self.enter(bounded), what=self.name, input=input, timeout=timeout + 5, check=check)

    def kill(self) -> None:
        """Power failure, at once: every process ends, nothing is written out; what was on its disks stays."""
        self._power.off()

    def start(self) -> None:
        """Switch on, and wait until every service answers; of a machine that is on, start the services that are not there."""
        if self.alive and (self.folder / "up").exists():
            self._boot("mend")
        else:
            self._power.off()
            (self.folder / "up").unlink(missing_ok=True)
            init = self._power.on()
            plug_in(self._names, self.spec, init.pid)
            self._boot()
            self._reached()
            (self.folder / "up").touch()

    def _boot(self, *words: str) -> None:
        said = self.exec(["/usr/bin/python3", "-I", str(_BOOT), str(self.folder), *words], check=False, timeout=90)
        if said.rc:
            raise LabError(said.err.strip() or f"machine {self.name} did not come up within 90 s")

    def _reached(self) -> None:
        """The operator reaches its sshd: the bridge passes traffic. Skipped while the operator is cut off from it."""
        if any(self._names.operator in other for other in self.cut_from()):
            return
        words = ["nc", "-z", "-w", "1", self.address, "22"]
        wait_for(
            lambda: run(words, what=f"port 22 of {self.name}", check=False).rc == 0,
            within=10,
            otherwise=lambda: (
                f"machine {self.name} is up, but port 22 of {self.address} does not answer the operator; "
                f"{last_lines(self.folder / 'log' / 'sshd.log')}; does a firewall of this machine drop what crosses bridge {self._names.bridge}?"
            ),
        )

    def stop_service(self, name: str) -> None:
        """End `zfs-fuse`, `tgtd`, `libvirtd`, `virtlogd` or `sshd` as `kill -9` does."""
        self._boot("stop", name)

    def start_service(self, name: str) -> None:
        """Start it again, and wait until it answers."""
        self._boot("start", name)

    def cut_from(self) -> list[str]:
        """The networks that the machine does not hear."""
        return list(json.loads((self.folder / "machine.json").read_text())["cut"])

    def set_cut(self, others: Iterable[str]) -> None:
        wanted = sorted(set(others))
        if wanted != self.cut_from():
            write_cut(self._names, self.spec, wanted)
            if self.alive:
                self._boot("cut")


def _at_once(work: Iterable[Any]) -> None:
    """Call all, side by side; raises one LabError that says what each failure was."""
    calls = list(work)
    with ThreadPoolExecutor(len(calls) or 1) as pool:
        futures = [pool.submit(call) for call in calls]
    problems = [problem for future in futures if (problem := future.exception()) is not None]
    for problem in problems:
        if not isinstance(problem, LabError):
            raise problem
    if problems:
        raise LabError("; ".join(str(problem) for problem in problems))


class Lab:
    """Both sites."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.folder = names.folder
        self.name = names.folder.name
        self.machines = {spec.name: Machine(names, spec) for spec in specs()}

    # -- making and finding -------------------------------------------------------------------

    @classmethod
    def up(cls, name: str = "lab", *, base: Path = BASE, pool_size: int = POOL_SIZE) -> Lab:
        """Make the lab, or what is missing of it; machines that are off are switched on."""
        files = image.build(needs.check())
        with folders.held(base / name, make=True) as place:
            names = claim_bridge(place)
            image.place(files, names.guest)
            write_keys(names)
            lab = cls(names)
            lab._configure(pool_size)
            topology.write(names)
            (place / "lab.json").write_text(json.dumps({"k": names.k}))
            _at_once(machine.start for machine in lab.machines.values())
            return lab

    def _configure(self, pool_size: int) -> None:
        for machine in self.machines.values():
            if not machine.alive:
                write_machine(self.names, machine.spec, pool_size)

    @classmethod
    def find(cls, name: str = "lab", *, base: Path = BASE) -> Lab:
        """The lab of that name. Raises LabError when there is none."""
        place = folders.place(base / name)
        try:
            k = int(json.loads((place / "lab.json").read_text())["k"])
        except (OSError, ValueError, KeyError):
            raise LabError(f"there is no lab `{name}` in {base}; make it: python -m lab up --name {name}") from None
        return cls(Names(place, k))

    @classmethod
    def down(cls, name: str = "lab", *, base: Path = BASE) -> bool:
        """Remove the lab whatever state it is in; False when there was nothing."""
        try:
            with folders.held(base / name, make=False) as place:
                # By what is in the folder, not by what this version would make.
                found = sorted(path.name for path in (place / "machines").glob("*"))
                _at_once(Power(machine, place / "machines" / machine).off for machine in found)
                remove_links(place)
                folders.remove(place)
        except folders.Gone:
            return False
        return True

    def machine(self, name: str) -> Machine:
        try:
            return self.machines[name]
        except KeyError:
            raise LabError(f"lab {self.name} has no machine `{name}`; it has {', '.join(self.machines)}") from None

    def site(self, site: str) -> list[Machine]:
        """The site's machines, its array first."""
        if site not in SITES:
            raise LabError(f"lab {self.name} has no site `{site}`; it has {' and '.join(SITES)}")
        return [machine for machine in self.machines.values() if machine.site == site]

    def topology_options(self) -> dict[str, dict[str, Any]]:
        """Each machine's options in a topology file (keys as there, sizes and durations as texts)."""
        return options(self.names)

    # -- faults -------------------------------------------------------------------------------

    def lose_site(self, site: str) -> None:
        """Power failure of the whole site."""
        _at_once(machine.kill for machine in self.site(site))

    def return_site(self, site: str) -> None:
        """The site has power again: pools are imported and mounted, no LUN is exported, no guest runs."""
        _at_once(machine.start for machine in self.site(site))

    def _side(self, name: str) -> tuple[list[Machine], str]:
        """The machines of a side, and its addresses as one network (a site's guests are in it)."""
        if name == OPERATOR:
            return [], self.names.operator
        if name in SITES:
            return self.site(name), f"{self.names.guest_address(name, 0)}/24"
        machine = self.machine(name)
        return [machine], machine.address

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between two of: sites, machines, `operator`. Silent: nobody is told. Stays until `heal`."""
        self._change_cut(one, other, cut=True)

    def _change_cut(self, one: str, other: str, *, cut: bool) -> None:
        (ones, one_net), (others, other_net) = self._side(one), self._side(other)
        if not (ones or others) or one == other:
            raise LabError(f"a cut is between two sides; `{one}` and `{other}` are not two")
        wanted = {machine: set(machine.cut_from()) for machine in (*ones, *others)}
        for machines, network in ((ones, other_net), (others, one_net)):
            for machine in machines:
                wanted[machine] = wanted[machine] | {network} if cut else wanted[machine] - {network}
        _at_once((lambda m=machine, n=networks: m.set_cut(n)) for machine, networks in wanted.items())

    def heal(self, one: str | None = None, other: str | None = None) -> None:
        """End the cut between two sides; without names, every cut."""
        if one is not None and other is not None:
            self._change_cut(one, other, cut=False)
        else:
            _at_once((lambda m=machine: m.set_cut(())) for machine in self.machines.values())

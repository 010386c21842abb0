"""What happens in the demo, in order: each step runs public commands, then measures what came of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from demo import database, measure
from demo.commands import CommandFailed, Commands
from demo.facts import Account, Step, same
from demo.folder import Folder

__all__ = ["STEPS", "Scene", "StepOf"]

PLAN = "shop"
VMS = ("db", "queue", "app-1", "app-2", "web-1", "web-2")
_WORD_LINE = re.compile(r"""dr:force:\s*\{(?P<plan>[a-z0-9-]+):\s*["'](?P<epoch>\d+):""")
_REASON = "power lost at east, confirmed by phone"


@dataclass
class Scene:
    """What the steps hand on to each other."""

    run: Commands
    folder: Folder
    account: Account
    image: database.Health
    point: str = ""
    sealed: dict[str, int | None] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    """The last entry on each VM's disks when the site was lost."""
    written: dict[str, int] = field(default_factory=dict)
    """The last entry that each VM's application took at the other site."""
    word: str = ""
    actions: list[str] = field(default_factory=list)
    before_drill: measure.Inventory = field(default_factory=dict)

    # -- looks that several steps need -----------------------------------------------------------

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.run.dr("status")["plans"][PLAN]
        return found

    def write(self, counts: dict[str, int]) -> dict[str, dict[str, Any]]:
        """Each VM's application writes; what it then has on disk and in memory."""
        return _all(counts, lambda vm: self.run.dr("sim", "write", vm, "--count", str(counts[vm])))

    def ledgers(self, *at: str) -> dict[str, dict[str, Any]]:
        return _all(VMS, lambda vm: self.run.dr("sim", "ledger", vm, *at))

    def run_at(self, step: Step, site: str) -> dict[str, Any]:
        """State that all VMs run at the site, by `dr status`; gives the status."""
        status = self.status()
        where = {vm: f"{at['state']} at {at['site']}" for vm, at in status["vms"].items()}
        hosts = sorted({str(at["host"]) for at in status["vms"].values()})
        same(
            step,
            f"all {len(VMS)} VMs run at {site}, on {' and '.join(hosts)}",
            dict.fromkeys(VMS, f"running at {site}"),
            where,
        )
        return status


def _all(names: Iterable[str], ask: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ask for each VM, two at a time."""
    listed = list(names)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(listed, pool.map(ask, listed), strict=True))


def _last(ledgers: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {vm: found["last"] for vm, found in ledgers.items()}


def _taken(found: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {vm: one["last"] + one["buffered"] for vm, one in found.items()}


def _intact(step: Step, ledgers: dict[str, dict[str, Any]]) -> None:
    torn = [vm for vm, found in ledgers.items() if not found["intact"]]
    step.check(
        "every ledger is intact: no entry is missing, torn or out of place", not torn, f"damaged: {', '.join(torn)}"
    )


def _mirrors(status: dict[str, Any]) -> dict[str, str]:
    return {m["volume"]: f"{m['state']} {m['from']} -> {m['to']}" for m in status["mirrors"]}


# -- the steps --------------------------------------------------------------------------------------


def make(scene: Scene, step: Step) -> None:
    scene.run.make_stack("prod", {"dr:topology": "topology/shop.yaml", f"dr:activeSites.{PLAN}": "east"})
    scene.run.up()
    status = scene.run_at(step, "east")
    step.check(
        "the plan is active at east, epoch 1", (status["activeSite"], status["epoch"]) == ("east", 1), status["epoch"]
    )
    states = {m["volume"]: (m["from"], m["to"]) for m in status["mirrors"]}
    step.check(f"{len(states)} volumes are mirrored to west", all(a.startswith("east") and b.startswith("west") for a, b in states.values()) and len(states) == 3, states)  # fmt: skip
    health = scene.run.dr("sim", "export", "db", "orders", str(scene.folder.out / "orders-at-east.img"))
    found = database.look_into(scene.folder.out / "orders-at-east.img")
    step.check(
        f"db's second disk holds the SQLite image: {found.orders} orders",
        found == scene.image,
        f"{found} in {health['bytes']} bytes",
    )


def first_writes(scene: Scene, step: Step) -> None:
    found = scene.write({vm: 40 + 3 * n for n, vm in enumerate(VMS)})
    taken = _taken(found)
    memory = sum(one["buffered"] for one in found.values())
    step.check(
        f"{sum(taken.values())} entries taken, {memory} of them still in the guests' memory",
        taken == {vm: 40 + 3 * n for n, vm in enumerate(VMS)},
        taken,
    )
    scene.written = taken


def protect(scene: Scene, step: Step) -> None:
    done = scene.run.dr("protect", PLAN, "--now")["plans"][PLAN]
    points = scene.run.dr("points", PLAN)
    scene.point = points["newest"]["west"] or ""
    scene.sealed = measure.marks(points, scene.point)
    step.check(
        f"recovery point {scene.point} is whole at west",
        scene.point == done["point"] and bool(scene.point),
        points["newest"],
    )
    step.check("all guests were quiesced: its level is application", done["level"] == "application", done["level"])
    same(step, "the seal names each ledger's last entry, what was in memory included", scene.written, scene.sealed)
    step.check("dr status says protected", scene.status()["protected"] is True, "not protected")


def more_writes(scene: Scene, step: Step) -> None:
    scene.acknowledged = _last(scene.write({vm: 24 + 5 * n for n, vm in enumerate(VMS)}))
    ahead = {vm: scene.acknowledged[vm] - (scene.sealed.get(vm) or 0) for vm in VMS}
    step.check(
        f"{sum(ahead.values())} entries are on east's disks and on no copy", all(n > 0 for n in ahead.values()), ahead
    )


def lose(scene: Scene, step: Step) -> None:
    ended = scene.run.dr("sim", "lose", "site:east")["ended"]
    step.check(f"{len(ended)} guests ended with their hosts", len(ended) == len(VMS), ended)
    looked = scene.run.dr("status")
    silent = sorted(looked["silent"])
    step.check(f"silent: {', '.join(silent)}", silent == ["east-1", "east-2", "east-a", "east-b"], silent)
    states = {vm: at["state"] for vm, at in looked["plans"][PLAN]["vms"].items()}
    same(step, "silence proves nothing: every VM's state is unknown", dict.fromkeys(VMS, "unknown"), states)


def refused(scene: Scene, step: Step) -> None:
    scene.run.set(f"dr:activeSites.{PLAN}", "west")
    said = scene.run.up(well=False)
    line = next((one.strip() for one in f"{said.err}\n{said.out}".splitlines() if "dr:force" in one), "")
    match = _WORD_LINE.search(line)
    step.check(
        "pulumi up ends badly and moves nothing",
        said.status != 0 and scene.status()["epoch"] == 1,
        f"status {said.status}",
    )
    step.check(
        "the refusal prints the line to add, with the epoch to name", match is not None, line or said.last_line()
    )
    if match is None:
        raise CommandFailed("the refusal did not name the line to add, so the demo cannot follow it")
    step.says.append(f'dr:force: {{{match["plan"]}: "{match["epoch"]}: <reason>"}}')
    scene.word = f"{match['epoch']}: {_REASON}"


def preview(scene: Scene, step: Step) -> None:
    scene.run.set(f"dr:force.{PLAN}", scene.word)
    shown = scene.run.preview()
    scene.actions = measure.pending_actions(shown)
    decided = scene.run.dr("failover", PLAN, "--to", "west", "--force", scene.word, "--dry-run")
    wanted = [action["sentence"] for action in decided["actions"]]
    step.check(
        f"it lists {len(scene.actions)} pending actions, in order",
        bool(wanted) and scene.actions == wanted,
        f"{scene.actions} instead of {wanted}",
    )
    order = [
        next((n for n, s in enumerate(scene.actions) if s.startswith(verb)), -1)
        for verb in ("claim", "break", "commit", "start")
    ]
    step.check("claim before break, commit before the first start", -1 not in order and order == sorted(order), order)
    plan_lines = measure.remarks(shown, lambda line: "recovery point" in line and "loss" in line)
    step.check(
        "it says recovery point, loss and time",
        any(scene.point in line and "time" in line for line in plan_lines),
        plan_lines,
    )
    step.says += plan_lines[:1]


def failover(scene: Scene, step: Step) -> None:
    scene.run.up()
    status = scene.run_at(step, "west")
    out = scene.run.outputs()[PLAN]
    step.check("the stack says: active at west, epoch 2", (out["activeSite"], out["epoch"]) == ("west", 2), out)
    ledgers = scene.ledgers()
    same(step, f"every ledger ends where the seal of {scene.point} says", scene.sealed, _last(ledgers))
    _intact(step, ledgers)
    scene.run.dr("sim", "export", "db", "orders", str(scene.folder.out / "orders-at-west.img"))
    found = database.look_into(scene.folder.out / "orders-at-west.img")
    step.check(f"PRAGMA integrity_check: {found.integrity}, {found.orders} orders", found == scene.image, found)
    lost = sum(scene.acknowledged.values()) - sum(_last(ledgers).values())
    step.check("the plan is not called protected while no copy is", status["protected"] is False, "protected")
    scene.account.numbers["failover, from its first call to the last VM"] = f"{out['seconds']:.1f} s"
    scene.account.numbers["lost in the disaster"] = f"{lost} entries, {out['lossSeconds']:.0f} s of writes"


def settled(scene: Scene, step: Step) -> None:
    said = scene.run.pulumi("preview", "--expect-no-changes", "--diff", well=False)
    step.check("pulumi preview finds nothing to do", said.status == 0, said.last_line())
    silent = sorted(scene.run.dr("status")["silent"])
    step.check("east is still dark", silent == ["east-1", "east-2", "east-a", "east-b"], silent)


def heal(scene: Scene, step: Step) -> None:
    found = scene.write({vm: 16 + 2 * n for n, vm in enumerate(VMS)})
    scene.run.dr("sim", "heal", "site:east")
    scene.run.dr("protect", PLAN, "--now")
    scene.written = _taken(found)
    status = scene.status()
    step.check("dr status says protected", status["protected"] is True, status["warnings"])
    pairs = _mirrors(status)
    step.check("the mirrors now run from west to east", all(s.startswith("synced west") for s in pairs.values()), pairs)
    copies = {copy["volume"]: copy for copy in scene.run.dr("safety", "list")["copies"]}
    step.check(
        f"{len(copies)} safety copies keep what east had alone",
        sorted(copies) == ["apps", "data", "webs"],
        sorted(copies),
    )
    kept: dict[str, int] = {}
    for copy in copies.values():
        for lun in copy["luns"]:
            vm, _, role = str(lun).partition(".")
            if role == "root":
                file = scene.folder.out / f"lost-{vm}.img"
                scene.run.dr("safety", "export", copy["name"], str(lun), str(file))
                last, intact = measure.ledger_of_file(file, vm)
                kept[vm] = last if intact else -1
    lost = sum(scene.acknowledged.values()) - sum(n or 0 for n in scene.sealed.values())
    same(step, f"the {lost} lost entries can be read there, all of them", scene.acknowledged, kept)


def failback(scene: Scene, step: Step) -> None:
    scene.run.set(f"dr:activeSites.{PLAN}", "east")
    scene.run.up()
    status = scene.run_at(step, "east")
    out = scene.run.outputs()[PLAN]
    step.check("the stack says: active at east, epoch 3", (out["activeSite"], out["epoch"]) == ("east", 3), out)
    ledgers = scene.ledgers()
    same(step, "nothing is lost: every entry taken at west is on east's disks", scene.written, _last(ledgers))
    _intact(step, ledgers)
    step.check("dr status says protected", status["protected"] is True, status["warnings"])
    scene.account.numbers["failback"] = (
        f"{out['seconds']:.1f} s, {sum(scene.written.values()) - sum(_last(ledgers).values())} entries lost"
    )


def drill(scene: Scene, step: Step) -> None:
    scene.before_drill = measure.inventory(scene.folder.topology)
    scene.run.make_stack(
        "drill", {"dr:topology": "topology/shop.yaml", "dr:mode": "drill", f"dr:drillSites.{PLAN}": "west"}
    )
    before = scene.run.dr("points", PLAN)
    scene.run.up("drill")
    out = scene.run.outputs("drill")[PLAN]
    step.check(
        f"{len(out['vms'])} VMs run at west on clones of {out['recoveryPoint']}",
        len(out["vms"]) == len(VMS) and not out["failures"],
        out,
    )
    names = {vm: f"{vm}.drill.{out['drill']}" for vm in VMS}
    ledgers = _all(VMS, lambda vm: scene.run.dr("sim", "ledger", names[vm]))
    same(
        step,
        "their ledgers end where that point's seal says",
        measure.marks(before, out["recoveryPoint"]),
        _last(ledgers),
    )
    scene.written = _taken(scene.write(dict.fromkeys(VMS, 8)))
    done = scene.run.dr("protect", PLAN, "--now")["plans"][PLAN]
    after = scene.run.dr("points", PLAN)
    fresh = after["newest"]["west"]
    step.check(
        f"replication goes on meanwhile: {fresh} reached west",
        fresh == done["point"] and fresh != before["newest"]["west"],
        fresh,
    )
    same(step, "with the entries that were written meanwhile", scene.written, measure.marks(after, fresh))
    scene.run_at(step, "east")
    scene.account.numbers["drill, from the order to the last VM (RTO)"] = f"{out['rtoSeconds']:.1f} s"
    scene.account.numbers["drill, age of its recovery point (RPO)"] = f"{out['rpoSeconds']:.1f} s"


def undrill(scene: Scene, step: Step) -> None:
    scene.run.pulumi("destroy", "--yes", "--skip-preview", "--suppress-progress", stack="drill")
    left = measure.inventory(scene.folder.topology)
    before = scene.before_drill
    for what in ("drill volumes", "drill holds", "drill records", "reservations"):
        step.check(f"{what}: {left.get(what, 0)}", left.get(what, 0) == 0, left.get(what, 0))
    kinds = ("data volumes", "maps", "VMs", "VMs that run")
    same(
        step,
        "as before: " + ", ".join(f"{left.get(k, 0)} {k}" for k in kinds),
        {k: before.get(k, 0) for k in kinds},
        {k: left.get(k, 0) for k in kinds},
    )
    said = scene.run.pulumi("preview", "--expect-no-changes", "--diff", well=False)
    step.check("prod's next preview finds nothing to do", said.status == 0, said.last_line())


@dataclass(frozen=True)
class StepOf:
    """A step as announced: its title, and what a person would type for it."""

    title: str
    command: str
    do: Callable[[Scene, Step], None]


STEPS = (
    StepOf("The shop is made at east and mirrored to west", "pulumi up", make),
    StepOf("Guests write", "dr sim write db --count 40", first_writes),
    StepOf("Protect: back up and replicate", "dr protect shop --now", protect),
    StepOf("Guests write more", "dr sim write db --count 24", more_writes),
    StepOf("Site east is lost", "dr sim lose site:east", lose),
    StepOf(
        "A failover without the operator's word is refused",
        "pulumi config set --path dr:activeSites.shop west; pulumi up",
        refused,
    ),
    StepOf(
        "With the word, a preview shows the plan", "pulumi config set --path dr:force.shop ...; pulumi preview", preview
    ),
    StepOf("Failover to west", "pulumi up", failover),
    StepOf("Nothing is left to do, with east still dark", "pulumi preview", settled),
    StepOf("East is back: protected again", "dr sim heal site:east; dr protect shop --now", heal),
    StepOf("Failback to east", "pulumi config set --path dr:activeSites.shop east; pulumi up", failback),
    StepOf("A drill at west, while replication goes on", "pulumi up --stack drill", drill),
    StepOf("The drill leaves nothing behind", "pulumi destroy --stack drill", undrill),
)

"""What is allowed in a topology and yet is seldom meant: sentences with their path, for `dr validate` and `dr doctor`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dr_provider.model.checks_callouts import unaddressed
from dr_provider.model.errors import Problem
from dr_provider.model.problems import Path, listed, path_text
from dr_provider.model.topology import NicSpec, PlanSpec, Topology

__all__ = ["advice"]


def advice(topology: Topology) -> tuple[Problem, ...]:
    """Warnings on a topology that is valid, in the order of its plans and VMs; then those on callouts and prompts."""
    cards: Iterator[tuple[Path, str]] = (
        (("vms", vm, "nics", index, *where), message)
        for plan in topology.plans.values()
        for vm in plan.members
        for index, nic in enumerate(topology.vms[vm].nics)
        for where, message in (*_half_static(plan, nic), *_named_in_drills(nic))
    )
    return tuple(Problem(path_text(path), message) for path, message in (*cards, *unaddressed(topology)))


def _half_static(plan: PlanSpec, nic: NicSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    given = [site for site in plan.sites if site in nic.address]
    missing = [site for site in plan.sites if site not in nic.address]
    if given and missing:
        yield (
            ("address",),
            f"it has a static address at {listed(given)}, and none at {listed(missing)}, so after a move there it has what DHCP gives; "
            f"add {': and '.join(missing)}: if that is not meant",
        )


def _named_in_drills(nic: NicSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    used = {name: site for site, names in nic.names.items() if site != "drill" for name in names}
    for name in nic.names.get("drill", ()):
        if name in used:
            yield (
                ("names", "drill"),
                f"{name} is its name in production too: a callout that writes DNS would point it into a drill; give drills a name of their own",
            )

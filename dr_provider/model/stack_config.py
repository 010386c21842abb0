"""What a stack's config says about plans, checked against its topology: the same for the Pulumi program and for `dr`, which reads the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import meant
from dr_provider.model.topology import Topology
from dr_provider.model.units import duration

__all__ = ["KEYS", "StackWords", "read_words"]

_MAPS = ("activeSites", "force", "recoveryPoints", "drillSites", "drillExpires")
KEYS = (*_MAPS, "mode", "adopt")
"""Of the namespace `dr`, beside `topology`."""

_MODES = ("protect", "drill")


@dataclass(frozen=True)
class StackWords:
    """Sites, words and points are by plan."""

    mode: str = "protect"
    active_sites: Mapping[str, str] = field(default_factory=dict)
    force: Mapping[str, str] = field(default_factory=dict)
    recovery_points: Mapping[str, str] = field(default_factory=dict)
    drill_sites: Mapping[str, str] = field(default_factory=dict)
    drill_expires: Mapping[str, str] = field(default_factory=dict)
    """How long each plan's drill stays up, such as 4h."""
    adopt: tuple[str, ...] = ()

    def adopts(self, plan: str, *names: str) -> bool:
        """Whether `dr:adopt` names the thing, or the whole plan that it is of."""
        return any(name in self.adopt for name in (plan, *names))


def read_words(topology: Topology, get: Callable[[str], object]) -> StackWords:
    """`get`: the plain value of a key (None: not there). Raises BadInput with every fault."""
    faults: list[str] = []
    maps = {key: _texts(get(key), key, faults) for key in _MAPS}
    mode = get("mode") or "protect"
    if mode not in _MODES:
        faults.append(f"dr:mode: wanted one of {', '.join(_MODES)}, found {mode!r}")
    for key, values in maps.items():
        faults += [
            f"dr:{key}.{plan}: there is no plan {plan!r} in topology {topology.name}{meant(plan, topology.plans)}; its plans: {', '.join(sorted(topology.plans))}"
            for plan in sorted(values)
            if plan not in topology.plans
        ]
    for key in ("activeSites", "drillSites"):
        for plan, site in sorted(maps[key].items()):
            sites = topology.plans[plan].sites if plan in topology.plans else (site,)
            if site not in sites:
                faults.append(
                    f"dr:{key}.{plan}: {site!r} is not one of the plan's sites{meant(site, sites)}: {', '.join(sites)}"
                )
    for plan, text in sorted(maps["drillExpires"].items()):
        try:
            duration(text)
        except ValueError as error:
            faults.append(f"dr:drillExpires.{plan}: {error}; found {text!r}")
    adopt = _names(get("adopt"), faults)
    if faults:
        raise BadInput("the stack's config is wrong; nothing was done.\n" + "\n".join(f"  {fault}" for fault in faults))
    return StackWords(
        str(mode),
        maps["activeSites"],
        maps["force"],
        maps["recoveryPoints"],
        maps["drillSites"],
        maps["drillExpires"],
        adopt,
    )


def _texts(value: object, key: str, faults: list[str]) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(f"dr:{key}: wanted a mapping from plan to text, found {value!r}")
        return {}
    # `config set --path` stores 1 as a number and true as a bool: neither is a site, a word or a point.
    wrong = {plan: item for plan, item in value.items() if not isinstance(item, str)}
    faults += [f"dr:{key}.{plan}: wanted text, found {item!r}; put it in quotes" for plan, item in wrong.items()]
    return {str(plan): item for plan, item in value.items() if isinstance(item, str)}


def _names(value: object, faults: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        faults.append(f"dr:adopt: wanted a list of names, found {value!r}")
        return ()
    return tuple(value)

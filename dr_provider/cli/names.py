"""The words that name plans, sites and points: checked here, so that a wrong one lists what would be right, and completed for shells."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dr_provider.cli.common import Common, Session
from dr_provider.model.errors import BadInput, DrError
from dr_provider.model.problems import meant
from dr_provider.model.topology import PlanSpec, Topology

__all__ = ["KeepOption", "PlanArgument", "SiteOption", "plan_named", "site_named", "site_option"]


def plan_named(session: Session, name: str | None, doing: str) -> PlanSpec:
    """The plan; raises BadInput listing those that there are. `doing`: the command, for the sentence."""
    plans = session.topology().plans
    known = f"the plans of topology {session.topology().name}: {', '.join(sorted(plans)) or 'none'}"
    if name is None:
        raise BadInput(f"dr {doing}: say which PLAN; {known}; nothing was done")
    if name not in plans:
        raise BadInput(f"dr {doing}: there is no plan {name!r}{meant(name, plans)}; {known}; nothing was done")
    return plans[name]


def site_named(plan: PlanSpec, name: str | None, doing: str, option: str) -> str:
    """A site of the plan; raises BadInput listing those that there are."""
    known = f"the sites of plan {plan.name}: {', '.join(plan.sites)}"
    if name is None:
        raise BadInput(f"dr {doing}: say {option} SITE; {known}; nothing was done")
    if name not in plan.sites:
        near = meant(name, plan.sites)
        raise BadInput(f"dr {doing}: there is no site {name!r} in the plan{near}; {known}; nothing was done")
    return name


def _completing(context: typer.Context) -> Topology | None:
    """The topology while a shell completes a word; whatever is wrong with it, nothing is said."""
    # While completing, the root's callback does not run: its options are only in its context's parameters.
    found: dict[str, Any] = {
        key: context.params.get(key) or context.find_root().params.get(key) for key in ("topology", "source", "name")
    }
    try:
        return Session(Common(**found)).topology()
    except (DrError, OSError):
        return None


def _plans(context: typer.Context, incomplete: str) -> list[str]:
    topology = _completing(context)
    return [name for name in topology.plans if name.startswith(incomplete)] if topology else []


def _sites(context: typer.Context, incomplete: str) -> list[str]:
    topology = _completing(context)
    return [name for name in topology.sites if name.startswith(incomplete)] if topology else []


# Not required for the parser: the sentence for a missing one lists the names that there are.
PlanArgument = Annotated[
    str | None,
    typer.Argument(metavar="PLAN", help="A plan of the topology.", autocompletion=_plans, show_default=False),
]


def site_option(flag: str, help_: str) -> Any:
    """An option that takes a site of the topology."""
    return typer.Option(flag, metavar="SITE", help=help_, autocompletion=_sites)


SiteOption = Annotated[str | None, site_option("--to", "The site to run at.")]
KeepOption = Annotated[str | None, site_option("--keep", "The side whose data counts.")]

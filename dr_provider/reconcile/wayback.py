"""The way back after a commit: every other side that answers becomes a copy of the new one, and gets a recovery point from there. Pure."""

from __future__ import annotations

from dr_provider.reconcile.late import LATE
from dr_provider.reconcile.steps import Steps
from dr_provider.reconcile.view import PlanView

__all__ = ["way_back"]


def way_back(view: PlanView, steps: Steps, target: str, commit: str, *, untouched: str | None = None) -> None:
    """The steps that turn the other sides' mirrors to the target after its commit; `untouched`: a side that is left as it is."""
    turned = []
    for site in view.others(target):
        whole = all(
            view.array_state(name, site) is not None and view.linked(name, site, target) for name in view.volume_names
        )
        if not whole or site == untouched:
            continue
        turned.append(site)
        for name in view.volume_names:
            array = view.copy_array(name, site)
            origin = site == view.active
            subject = name if origin else f"{name}@{site}"
            sentence = (
                f"reverse the mirror of volume {name}: {target} to {site}"
                if origin
                else f"bring volume {name} on {array} in line with {target}"
            )
            steps.add("reverse", subject, sentence, after=[commit], last=[*steps.ids("start"), *steps.ids(*LATE)], group="reverse",
                      needed=False, volume=name, array=array, site=site)  # fmt: skip
    if turned:
        sentence = f"take a recovery point at {target} and send it to {' and '.join(turned)}"
        steps.add("protect", "", sentence, after=[commit], last=[*steps.ids("start"), *steps.ids("reverse"), *steps.ids(*LATE)],
                  group="reverse", needed=False, site=target, other=",".join(turned))  # fmt: skip

"""How long a guest is asked to shut down before it is stopped hard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dr_provider.reconcile.actions import compute
from dr_provider.reconcile.context import Run
from tests.support.situations import ACTIVE, VMS, Side, view


@pytest.mark.parametrize(
    ("situation", "seconds"),
    [
        ({}, compute.GRACEFUL),
        ({"silent": ["east-a"]}, compute.GRACEFUL_WITHOUT_DISKS),
        # A side that came back with its guests running, whose array was restarted or fenced: nothing can be written out.
        ({"east": Side(vms="running", mapped=False)}, compute.GRACEFUL_WITHOUT_DISKS),
        ({"east": Side(vms="running", mapped=VMS)}, compute.GRACEFUL),
        ({"east": ACTIVE}, compute.GRACEFUL),
    ],
)
def test_a_guest_without_its_disks_is_not_waited_for(situation: dict[str, Any], seconds: float) -> None:
    run = cast(Run, SimpleNamespace(view=view(**situation)))
    assert {compute._patience(run, vm, "east-1", "east") for vm in VMS} == {seconds}


def test_a_vm_that_the_topology_does_not_know_any_more_is_asked_in_full() -> None:
    assert compute._patience(cast(Run, SimpleNamespace(view=view())), "gone", "east-1", "east") == compute.GRACEFUL

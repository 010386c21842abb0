"""The sweep over arrays and hosts that answer, but cannot do the call: known, or unreachable, and never the end of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.model.errors import DeviceFault
from dr_provider.model.state import ArrayState, HostState, Silent
from tests.support.lab import Lab


@pytest.mark.parametrize("target", ["array:east-a", "array:west-a", "host:east-1", "host:west-2"])
def test_one_call_that_fails_is_asked_again(target: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.bench.fail(target, 1)
    seen = lab.world().look()
    assert all(isinstance(state, ArrayState) for state in seen.arrays.values())
    assert all(isinstance(state, HostState) for state in seen.hosts.values())


def test_an_array_that_only_fails_is_a_silent_one_and_stops_no_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    lab.write(16)
    lab.protect()
    state = EmbeddedArray.state

    def failing(self: EmbeddedArray, **words: object) -> ArrayState:
        if self.name == "east-a":
            raise DeviceFault("array east-a could not do the call")
        return state(self, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(EmbeddedArray, "state", failing)
    seen = lab.world().look()
    assert isinstance(seen.arrays["east-a"], Silent)
    assert "could not do the call" in seen.arrays["east-a"].reason
    assert "array east-a at east, where plan shop is active, is silent" in lab.status()["degraded"]
    outcome = lab.move("west")
    assert (outcome.failures, lab.running()) == ((), dict.fromkeys(("db", "app", "web"), "west"))

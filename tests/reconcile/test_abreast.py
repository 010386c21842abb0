"""Calls side by side: in order, at the same time, and all ended before an error is told."""

from __future__ import annotations

import threading

import pytest

from dr_provider.model.errors import DrError
from dr_provider.reconcile.abreast import abreast


def test_results_come_in_the_order_of_the_items() -> None:
    assert abreast([3, 1, 2], lambda n: n * n) == [9, 1, 4]
    assert abreast([], str) == []


def test_all_are_under_way_at_once() -> None:
    together = threading.Barrier(4, timeout=10)
    assert sorted(abreast(range(4), lambda _: together.wait())) == [0, 1, 2, 3]


def test_the_first_error_is_told_when_all_have_ended() -> None:
    ended = []

    def call(item: int) -> None:
        if item == 0:
            raise DrError("the first")
        ended.append(item)

    with pytest.raises(DrError, match="the first"):
        abreast(range(3), call)
    assert sorted(ended) == [1, 2]

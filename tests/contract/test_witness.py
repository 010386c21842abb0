"""What every witness does, whatever stands behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dr_provider.arrays.embedded import EmbeddedArray
from dr_provider.arrays.witness import RecordStore, open_witness
from dr_provider.model.errors import BadInput, NotReady
from dr_provider.model.topology import WitnessSpec
from tests.support.s3 import ACCESS, SECRET, serving

Open = Callable[[], RecordStore]
KEYS = {"accessKey": "env:DR_TEST_ACCESS", "secretKey": "env:DR_TEST_SECRET"}


@pytest.fixture(params=["embedded", "array", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the same store anew at each call, as another process would."""

    def array(name: str) -> EmbeddedArray:
        return EmbeddedArray(name, "south", tmp_path / f"{name}.db", timeout=5)

    monkeypatch.setenv("DR_TEST_ACCESS", ACCESS)
    monkeypatch.setenv("DR_TEST_SECRET", SECRET)
    if request.param == "s3":
        with serving() as objects:
            options = {"url": objects.url, "bucket": objects.bucket, "region": "us-east-1", "credentials": KEYS}
            yield lambda: open_witness(WitnessSpec("s3", options), timeout=5, array=array)
    elif request.param == "array":
        array("south-a").create()
        yield lambda: open_witness(WitnessSpec("array", {"array": "south-a"}), timeout=5, array=array)
    else:
        spec = WitnessSpec("embedded", {"path": str(tmp_path / "witness.db")})
        with pytest.raises(NotReady) as missing:
            open_witness(spec, timeout=5, array=array).read("shop/x")
        assert missing.value.missing
        yield lambda: open_witness(spec, timeout=5, array=array)


@pytest.fixture
def store(opened: Open) -> RecordStore:
    store = opened()
    store.make()
    store.make()
    return store


def test_records_are_created_once_read_changed_and_deleted(store: RecordStore, opened: Open) -> None:
    assert store.read("shop/a") is None
    assert store.create("shop/a", "1")
    assert not opened().create("shop/a", "2")
    assert opened().read("shop/a") == "1"
    store.put("shop/a", "3 äß €")
    store.put("shop/b", "4")
    assert opened().read("shop/a") == "3 äß €"
    store.delete("shop/a")
    store.delete("shop/a")
    assert opened().read("shop/a") is None
    assert opened().create("shop/a", "5")


def test_they_are_listed_by_prefix_without_blobs(store: RecordStore, opened: Open) -> None:
    wanted = {f"shop/alive/plan-{n}/east": str(n) for n in range(5)}
    for key, value in {**wanted, "shop/blob/x": "no", "other/alive/plan-1/east": "no", "shop-2/a": "no"}.items():
        store.put(key, value)
    assert dict(opened().records("shop/")) == wanted
    assert dict(opened().records("nothing/")) == {}


def test_of_many_who_create_at_once_one_wins(store: RecordStore, opened: Open) -> None:
    begin = threading.Barrier(6)

    def attempt(n: int) -> bool:
        mine = opened()
        begin.wait(20)
        return mine.create("shop/grant/plan/000002", str(n))

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(attempt, range(6)))
    assert won.count(True) == 1
    assert store.read("shop/grant/plan/000002") == str(won.index(True))


@pytest.mark.parametrize("key", ["", "shop//x", "../x", "shop/a b", "shop/\n", "/shop", "shop/x?y=1", "shop/<x>"])
def test_keys_that_could_reach_a_path_or_a_url_are_refused(store: RecordStore, key: str) -> None:
    for call in (store.read, store.delete, lambda k: store.put(k, "1"), lambda k: store.create(k, "1")):
        with pytest.raises(BadInput, match="record key"):
            call(key)


def test_it_can_be_closed_and_used_again(store: RecordStore) -> None:
    store.put("shop/a", "1")
    store.close()
    assert store.read("shop/a") == "1"

"""An object store as a witness: signatures as published, and what real stores do wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dr_provider.arrays.witness.s3 import S3Records
from dr_provider.arrays.witness.signing import signed
from dr_provider.model.errors import DeviceFault, DrError, NotReady, Unreachable
from tests.support.s3 import ACCESS, SECRET, ObjectStore, serving

KEYS = {"accessKey": "env:DR_TEST_ACCESS", "secretKey": "env:DR_TEST_SECRET"}


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("DR_TEST_ACCESS", ACCESS)
    monkeypatch.setenv("DR_TEST_SECRET", SECRET)
    with serving() as store:
        yield store


def opened(objects: ObjectStore, *, timeout: float = 5.0, **more: str) -> S3Records:
    given = {"url": objects.url, "bucket": objects.bucket, "region": "us-east-1", **more}
    return S3Records(given["url"], given["bucket"], given["region"], KEYS, timeout=timeout)


EMPTY = {"host": "examplebucket.s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        ("GET", "/test.txt", {}, {**EMPTY, "Range": "bytes=0-9"}, b"",
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "/test%24file.text", {},
         {**EMPTY, "Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}, b"Welcome to Amazon S3.",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "/", {"lifecycle": ""}, EMPTY, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", "/", {"prefix": "J", "max-keys": "2"}, EMPTY, b"", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)  # fmt: skip
def test_signatures_are_those_that_are_published(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes, signature: str
) -> None:
    """The examples of docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    found = signed(
        method, path, query, headers, body, access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1", time=datetime(2013, 5, 24, tzinfo=UTC),
    )  # fmt: skip
    assert found["authorization"].endswith(f"Signature={signature}")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request" in found["authorization"]


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("503", DeviceFault, "could not do the call (503 SlowDown); run it again"),
        ("501", NotReady, "knows no conditional writes (501 NotImplemented)"),
        ("307", NotReady, "it is elsewhere (307 TemporaryRedirect); correct url and region"),
    ],
)
def test_what_it_cannot_do_is_said(objects: ObjectStore, fault: str, error: type[DrError], said: str) -> None:
    objects.fault = fault
    store = opened(objects)
    for call in (
        lambda: store.read("shop/a"),
        lambda: store.create("shop/a", "1"),
        lambda: store.put("shop/a", "1"),
        lambda: store.delete("shop/a"),
        lambda: store.records("shop/"),
    ):
        with pytest.raises(error) as raised:
            call()
        assert said in str(raised.value)


@pytest.mark.parametrize("fault", ["silent", "dripping"])
def test_silence_is_unreachable_within_the_deadline_even_if_it_drips(objects: ObjectStore, fault: str) -> None:
    objects.objects["shop/a"] = b"x" * 2000
    objects.fault = fault
    with pytest.raises(
        Unreachable, match=r"witness http://127\.0\.0\.1:\d+ \(bucket dr-witness\) gives no answer within 0\.3 s"
    ):
        opened(objects, timeout=0.3).read("shop/a")


def test_nobody_there_is_unreachable() -> None:
    with serving() as gone:
        url = gone.url
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DR_TEST_ACCESS", ACCESS)
        patch.setenv("DR_TEST_SECRET", SECRET)
        with pytest.raises(Unreachable, match="gives no answer"):
            S3Records(url, "dr-witness", "us-east-1", KEYS, timeout=2).read("shop/a")


def test_a_store_that_overwrites_in_spite_of_the_condition_is_no_witness(objects: ObjectStore) -> None:
    objects.fault = "overwriting"
    with pytest.raises(NotReady, match="could grant one move to two sites"):
        opened(objects).make()
    assert objects.objects == {}, "what was tried is gone again"


def test_no_bucket_and_no_object_store_are_said(objects: ObjectStore) -> None:
    with pytest.raises(NotReady, match="there is no such bucket; make it"):
        opened(objects, bucket="another").read("shop/a")
    objects.fault = "not a store"
    with pytest.raises(NotReady, match="no list of objects"):
        opened(objects).records("shop/")


def test_an_answer_without_end_is_none(objects: ObjectStore) -> None:
    objects.objects["shop/a"] = b"x" * (2 << 20)
    with pytest.raises(NotReady, match="more than 1 MiB"):
        opened(objects).read("shop/a")


@pytest.mark.parametrize("minutes", [20, -20])
def test_a_clock_that_is_wrong_does_not_shut_the_witness_out(objects: ObjectStore, minutes: int) -> None:
    objects.ahead = timedelta(minutes=minutes)
    store = opened(objects)
    assert store.create("shop/a", "1")
    assert store.read("shop/a") == "1"
    assert objects.asked == ["PUT shop/a", "PUT shop/a", "GET shop/a"], "its clock is asked once"


def test_a_wrong_credential_is_named_by_its_reference_only(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DR_TEST_SECRET", "planted-secret")
    with pytest.raises(NotReady) as raised:
        opened(objects).put("shop/a", "1")
    assert "refuses the credential of env:DR_TEST_ACCESS and env:DR_TEST_SECRET (403 SignatureDoesNotMatch)" in str(
        raised.value
    )
    monkeypatch.delenv("DR_TEST_SECRET")
    with pytest.raises(NotReady, match="environment variable DR_TEST_SECRET is not set") as unset:
        opened(objects).put("shop/a", "1")
    for text in (str(raised.value), repr(raised.value.__cause__), str(unset.value)):
        assert "planted-secret" not in text
        assert ACCESS not in text

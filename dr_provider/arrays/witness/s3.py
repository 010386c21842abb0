"""An S3-like object store as a witness: a record is an object, and create-if-absent is a PUT with `If-None-Match: *`.

Conditional writes: docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html (412: it was there; 409: a delete was under way).
"""

from __future__ import annotations

import http.client
import re
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from dr_provider.arrays.base import check_key
from dr_provider.arrays.witness.base import RecordStore
from dr_provider.arrays.witness.signing import canonical_query, signed
from dr_provider.model import credentials, keys
from dr_provider.model.errors import BadInput, DeviceFault, NotReady, Unreachable

__all__ = ["S3Records"]

_LARGEST = 1 << 20
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
_SKEWED = "RequestTimeTooSkewed"


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    date: str | None

    @property
    def code(self) -> str:
        """S3's word for an error. The rest of an error's body is never shown: it repeats parts of the request."""
        found = _CODE.search(self.body)
        return found[1].decode() if found else ""


class S3Records(RecordStore):
    """`keys` maps accessKey and secretKey to credential references, which are resolved at the first call. `timeout`: seconds a call."""

    def __init__(
        self,
        url: str,
        bucket: str,
        region: str,
        keys: Mapping[str, str],
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self._what = f"witness {url} (bucket {bucket})"
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._netloc = parts.netloc
        self._bucket = bucket
        self._region = region
        self._keys = dict(keys)
        self._timeout = timeout
        self._clock = clock
        self._ahead = timedelta()

    # -- the calls --------------------------------------------------------------------------------

    def records(self, prefix: str) -> Mapping[str, str]:
        check_key(prefix)
        until = self._clock() + self._timeout
        names: list[str] = []
        more: dict[str, str] = {}
        while True:
            answer = self._ask("GET", "", until, query={"list-type": "2", "prefix": prefix, **more})
            if answer.status != 200:
                raise self._fault(answer)
            found, token = self._listed(answer.body)
            names += found
            if token is None:
                break
            more = {"continuation-token": token}
        texts = {name: self._read(name, until) for name in names if not name.startswith(f"{prefix}blob/")}
        return {name: text for name, text in texts.items() if text is not None}

    def read(self, key: str) -> str | None:
        return self._read(check_key(key), self._clock() + self._timeout)

    def create(self, key: str, value: str) -> bool:
        until = self._clock() + self._timeout
        answer = self._ask("PUT", check_key(key), until, body=value.encode(), headers={"if-none-match": "*"})
        if answer.status == 412:
            return False
        if answer.status != 200:
            raise self._fault(answer)
        return True

    def put(self, key: str, value: str) -> None:
        answer = self._ask("PUT", check_key(key), self._clock() + self._timeout, body=value.encode())
        if answer.status != 200:
            raise self._fault(answer)

    def delete(self, key: str) -> None:
        answer = self._ask("DELETE", check_key(key), self._clock() + self._timeout)
        if answer.status not in (200, 204) and answer.code != "NoSuchKey":
            raise self._fault(answer)

    def make(self) -> None:
        """The bucket is the operator's to make; here it is seen whether the store keeps conditional writes, on which all rests."""
        probe = f"probe/{secrets.token_hex(8)}"
        if not self.create(probe, "1"):
            raise DeviceFault(f"{self._what}: a new object was said to be there already; run it again")
        try:
            if self.create(probe, "2"):
                raise NotReady(
                    f"{self._what}: it overwrites an object in spite of If-None-Match, so it could grant one move to two sites; "
                    "wanted a store with conditional writes"
                )
        finally:
            self.delete(probe)

    # -- beneath ----------------------------------------------------------------------------------

    def _read(self, key: str, until: float) -> str | None:
        answer = self._ask("GET", key, until)
        if answer.status == 404 and answer.code in ("NoSuchKey", ""):
            return None
        if answer.status != 200:
            raise self._fault(answer)
        return answer.body.decode("utf-8", "replace")

    def _listed(self, body: bytes) -> tuple[list[str], str | None]:
        try:
            tree = ElementTree.fromstring(body)
        except ElementTree.ParseError as error:
            raise NotReady(f"{self._what}: its answer is no list of objects; wanted an S3-like object store") from error
        space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
        names = [each.text or "" for each in tree.iter(f"{space}Key")]
        truncated = tree.findtext(f"{space}IsTruncated") == "true"
        return names, tree.findtext(f"{space}NextContinuationToken") if truncated else None

    def _ask(
        self,
        method: str,
        key: str,
        until: float,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> _Answer:
        answer = self._exchange(method, key, until, query or {}, headers or {}, body)
        if answer.code == _SKEWED and answer.date is not None:
            # Its clock counts, and ours may be wrong on the very day on which a site comes back.
            self._ahead = parsedate_to_datetime(answer.date) - keys.now()
            answer = self._exchange(method, key, until, query or {}, headers or {}, body)
        return answer

    def _exchange(
        self, method: str, key: str, until: float, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> _Answer:
        path = quote(f"/{self._bucket}/{key}" if key else f"/{self._bucket}", safe="/-_.~")
        ready = signed(
            method, path, query, {"host": self._netloc, **headers}, body,
            access_key=self._secret("accessKey"),
            secret_key=self._secret("secretKey"),
            region=self._region, time=self._now(),
        )  # fmt: skip
        link = self._connection(self._left(until))
        try:
            link.request(method, f"{path}?{canonical_query(query)}" if query else path, body or None, ready)
            response = link.getresponse()
            return _Answer(response.status, self._body(response, link, until), response.getheader("Date"))
        except (OSError, http.client.HTTPException) as error:
            reason = "" if isinstance(error, TimeoutError) else f" ({error or type(error).__name__})"
            raise Unreachable(f"{self._what} gives no answer within {self._timeout:g} s{reason}") from error
        finally:
            link.close()

    def _secret(self, name: str) -> str:
        """A reference that leads nowhere on this machine is a witness that cannot be asked from here, not the end of a rescue."""
        try:
            return credentials.resolve(self._keys[name], self._what)
        except BadInput as error:
            raise NotReady(str(error)) from None

    def _now(self) -> datetime:
        return keys.now() + self._ahead

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise Unreachable(f"{self._what} gives no answer within {self._timeout:g} s")
        return left

    def _body(self, response: http.client.HTTPResponse, link: http.client.HTTPConnection, until: float) -> bytes:
        """All of it, within the deadline however slowly it drips."""
        text = b""
        while len(text) <= _LARGEST:
            if link.sock is not None:
                link.sock.settimeout(self._left(until))
            part = response.read1(65536)
            if not part:
                return text
            text += part
            self._left(until)
        raise NotReady(
            f"{self._what}: an answer of more than 1 MiB is none of a record; wanted an S3-like object store"
        )

    def _fault(self, answer: _Answer) -> NotReady | DeviceFault:
        said = f"{answer.status}{f' {answer.code}' if answer.code else ''}"
        if answer.status in (401, 403):
            where = f"{self._keys['accessKey']} and {self._keys['secretKey']}"
            return NotReady(
                f"{self._what} refuses the credential of {where} ({said}); correct it, or give it the right to read and write there"
            )
        if answer.code == "NoSuchBucket":
            return NotReady(f"{self._what}: there is no such bucket; make it, or correct the topology")
        if answer.status == 501:
            return NotReady(f"{self._what}: it knows no conditional writes ({said}); wanted a store that does")
        if 300 <= answer.status < 400:
            return NotReady(f"{self._what}: it is elsewhere ({said}); correct url and region in the topology")
        return DeviceFault(f"{self._what} could not do the call ({said}); run it again")

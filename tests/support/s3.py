"""A small object store on loopback that speaks as much of S3 as a witness needs, and fails as real ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from dr_provider.arrays.witness.signing import signed

__all__ = ["ACCESS", "SECRET", "ObjectStore", "serving"]

ACCESS, SECRET = "AKIDTESTS", "a-secret-that-must-not-be-seen"
_PAGE = 2


@dataclass
class ObjectStore:
    """`fault`: what it does wrong. `ahead`: how far its clock is ahead. `held`: while set, it gives no answer."""

    url: str = ""
    bucket: str = "dr-witness"
    objects: dict[str, bytes] = field(default_factory=dict)
    fault: str = ""
    ahead: timedelta = timedelta()
    asked: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as in the base class
        return

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.store.now(), usegmt=True)

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        store = self.store
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        store.asked.append(f"{self.command} {key}")
        while store.fault == "silent" and not store.held.wait(0.02):
            pass
        status, answer = self._refusal(bucket, parts.path, dict(parse_qsl(parts.query)), body)
        if not status:
            with store.lock:
                status, answer = self._answer(key, dict(parse_qsl(parts.query)), body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if store.fault == "dripping":
            for byte in answer:
                if store.held.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
            return
        self.wfile.write(answer)

    def _refusal(self, bucket: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        store = self.store
        if store.fault in ("503", "307", "501"):
            return int(store.fault), _error(
                {"503": "SlowDown", "307": "TemporaryRedirect", "501": "NotImplemented"}[store.fault]
            )
        if bucket != store.bucket:
            return 404, _error("NoSuchBucket")
        asked = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((asked - store.now()).total_seconds()) > 900:
            return 403, _error("RequestTimeTooSkewed")
        names = self.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        given = {name: self.headers[name] for name in names if not name.startswith("x-amz-")}
        right = signed(
            self.command, path, query, given, body, access_key=ACCESS, secret_key=SECRET, region="us-east-1", time=asked
        )
        if self.headers["authorization"] != right["authorization"]:
            # As the real one does, it repeats what it was given.
            return 403, _error("SignatureDoesNotMatch", f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId>")
        return 0, b""

    def _answer(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        objects, fault = self.store.objects, self.store.fault
        if self.command == "PUT":
            if key in objects and self.headers.get("if-none-match") == "*" and fault != "overwriting":
                return 412, _error("PreconditionFailed")
            objects[key] = body
            return 200, b""
        if self.command == "DELETE":
            objects.pop(key, None)
            return 204, b""
        if key:
            return (200, objects[key]) if key in objects else (404, _error("NoSuchKey"))
        if fault == "not a store":
            return 200, b"<html>welcome"
        names = sorted(name for name in objects if name.startswith(query["prefix"]))
        start = int(query.get("continuation-token", "0"))
        page, more = names[start : start + _PAGE], start + _PAGE < len(names)
        parts = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in page)
        token = f"<NextContinuationToken>{start + _PAGE}</NextContinuationToken>" if more else ""
        return 200, (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{parts}</ListBucketResult>"
        ).encode()


def _error(code: str, more: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away at its deadline is what is tested."""


@contextmanager
def serving() -> Iterator[ObjectStore]:
    store = ObjectStore()
    handler = type("Handler", (_Handler,), {"store": store})
    server = _Server(("127.0.0.1", 0), handler)
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.held.set()
        server.shutdown()
        server.server_close()
        thread.join()

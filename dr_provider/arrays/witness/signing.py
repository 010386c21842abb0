"""AWS Signature Version 4 for requests without query signing.

Source: docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html; its examples are among the tests.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

__all__ = ["canonical_query", "signed"]


def canonical_query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in sorted(query.items()))


def signed(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    time: datetime,
) -> dict[str, str]:
    """The headers (`host` among them; all are signed) with those that the signature adds. `path` is encoded already; `time` is in UTC."""
    stamp, digest = time.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    every = {**{k.lower(): v for k, v in headers.items()}, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(every))
    request = "\n".join(
        [
            method,
            path,
            canonical_query(query),
            *(f"{name}:{every[name].strip()}" for name in sorted(every)),
            "",
            names,
            digest,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    every["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return every

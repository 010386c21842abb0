"""Sending a message to one address of apprise, from a process of its own, so that nothing of ours waits for a silent receiver.

The address holds secrets: it crosses to that process on its standard input, and what comes back is masked.
Run as a program it is that process.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import unquote

__all__ = ["DEADLINE", "masked", "send"]

DEADLINE = 20.0
"""Seconds after which the process is ended: mail servers may take some."""


def send(address: str, title: str, text: str, *, problem: bool, deadline: float = DEADLINE) -> str | None:
    """None: the receiver took it; else why not, in a sentence without a secret."""
    words = {"address": address, "title": title, "text": text, "problem": problem, "deadline": deadline}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dr_provider.cli.notify"],
            input=json.dumps(words),
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not take the message within {deadline:g} s"
    if done.returncode:
        # Whatever a plug-in raised: its last line, in which the address may stand.
        said = masked(next(reversed(done.stderr.strip().splitlines()), "it said nothing"), address)
        return f"the process that sends ended with status {done.returncode} ({said})"
    reason = json.loads(done.stdout.splitlines()[-1])["reason"]
    return None if reason is None else str(reason)


def masked(text: str, address: str) -> str:
    """The text with every part of the address that could be a secret, which is all but its scheme, struck out."""
    _, _, rest = address.partition("://")
    parts = {part for word in re.split(r"[/:@?&=#,;]+", rest) for part in (word, unquote(word))} | {rest, address}
    for part in sorted((part for part in parts if len(part) > 2), key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _deliver(words: dict[str, Any]) -> str | None:
    import apprise

    asset = apprise.AppriseAsset(
        app_id="dr", app_desc="disaster recovery", app_url="", image_url_mask="", secure_logging=True
    )
    service = apprise.Apprise.instantiate(words["address"], asset=asset)
    if service is None:
        return "what the reference leads to is no address that apprise knows (https://github.com/caronc/apprise/wiki)"
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    kind = apprise.NotifyType.FAILURE if words["problem"] else apprise.NotifyType.INFO
    result = sender.notify(
        words["text"],
        words["title"],
        notify_type=kind,
        body_format=apprise.NotifyFormat.TEXT,
        timeout=words["deadline"],
    )
    if result:
        return None
    said = [entry.message.strip() for entry in result.logs() if entry.level in ("WARNING", "ERROR")]
    return masked("; ".join(dict.fromkeys(said)).rstrip(".") or "it was not taken", words["address"])


def main() -> None:
    words = json.load(sys.stdin)
    # Whoever waited for it may be gone: it ends by itself, whatever the receiver does.
    signal.alarm(math.ceil(words["deadline"]) + 1)
    print(json.dumps({"reason": _deliver(words)}), flush=True)


if __name__ == "__main__":
    main()

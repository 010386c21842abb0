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
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return f"the process that sends ended with status {done.returncode}, and said nothing"
    return None if answer["reason"] is None else str(answer["reason"])


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
    try:
        reason = _deliver(words)
    except Exception as error:  # noqa: BLE001  whatever a plug-in raises is an answer, and its text may hold a secret
        reason = f"apprise failed ({type(error).__name__})"
    print(json.dumps({"reason": reason}), flush=True)


if __name__ == "__main__":
    main()

"""libvirt's errors as ours: what was silent, what is not ready, what the host could not do.

libvirt passes on what ssh or the remote daemon wrote, so a failure to connect is told by well-known words of OpenSSH and libvirt.
"""

from __future__ import annotations

from typing import Any

from dr_provider.model.errors import BadInput, DeviceFault, DrError, NotReady, Unreachable

__all__ = ["code", "connecting", "lost", "other", "text"]

# In this order: a changed key and a refused one both end with the words of the next.
_WAYS: tuple[tuple[tuple[str, ...], type[DrError], str], ...] = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "Offending "),
        NotReady,
        "its ssh host key is not the one that is known; if the machine was set up anew, replace its line in known_hosts, else find out who answers there",
    ),
    (
        ("Host key verification failed", "No matching host key", "host key is known"),
        NotReady,
        "its ssh host key is not known here; add it to known_hosts after comparing it on the machine itself",
    ),
    (
        ("Permission denied", "Too many authentication failures", "no such identity", "Load key"),
        NotReady,
        "ssh was refused: the key is not accepted there; add the public key to the account's authorized_keys, or correct ssh.identity",
    ),
    (
        ("authentication failed", "authentication unavailable", "polkit", "access denied", "authentication cancelled"),
        NotReady,
        "libvirt refused this account; let it manage libvirt (the group libvirt, or a polkit rule)",
    ),
    (
        (
            "ssh: connect to host",
            "ssh: Could not resolve",
            "kex_exchange_identification",
            "Connection closed by remote host",
        ),
        Unreachable,
        "ssh gets no connection to it",
    ),
    (
        ("libvirt-sock", "virtqemud-sock", "Failed to connect socket", "unable to connect to server"),
        Unreachable,
        "the machine answers and its libvirt does not run or is not reached; start libvirtd (or virtqemud) there",
    ),
)


def code(error: Any) -> int:
    """libvirt's number of the error (VIR_ERR_*)."""
    number = error.get_error_code()
    return -1 if number is None else int(number)


def text(error: Any) -> str:
    """What libvirt said, on one line, without a full stop."""
    return " ".join(str(error.get_error_message() or error).split()).rstrip(".")


def connecting(libvirt: Any, error: Any, where: str) -> DrError:
    """Why a connection could not be made: Unreachable or NotReady."""
    said = text(error)
    if code(error) in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_UNAVAILABLE, libvirt.VIR_ERR_ACCESS_DENIED):
        return NotReady(f"{where}: {_WAYS[3][2]} ({said})")
    for words, kind, sentence in _WAYS:
        if any(word.casefold() in said.casefold() for word in words):
            return kind(f"{where}: {sentence} ({said})")
    if code(error) in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_CONFIG_UNSUPPORTED):
        return BadInput(f"{where}: libvirt cannot use its URI ({said}); correct it in the topology")
    return Unreachable(f"{where} gave no answer: {said}")


def lost(error: Any, where: str) -> Unreachable:
    """The connection broke while something was asked."""
    return Unreachable(f"{where} fell silent: {text(error)}")


def other(libvirt: Any, error: Any, where: str, wanted: str) -> DrError:
    """An answer that the call could not be done, where nothing better is known of it."""
    if code(error) in (libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_OPERATION_DENIED, libvirt.VIR_ERR_AUTH_FAILED):
        return NotReady(f"{where}: libvirt does not let this account {wanted} ({text(error)}); see its polkit rules")
    return DeviceFault(f"{where} could not {wanted}: {text(error)}")

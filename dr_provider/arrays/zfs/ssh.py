"""The system's OpenSSH as a connection's carrier: its command line, and what its failures mean.

Host keys are always checked, and nothing is ever asked of a person: no password, no "yes" to an unknown key. What OpenSSH says when it
fails is read word by word (OpenSSH 8 to 9: sshconnect.c, clientloop.c, ssh.c), since its exit status is 255 for all of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dr_provider.arrays.zfs.remote.hop import fast_ciphers
from dr_provider.model.errors import BadInput, DeviceFault, DrError, NotReady, Unreachable

__all__ = ["Endpoint", "SshOptions", "explain", "parse_endpoint", "ssh_words"]

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|\[?[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_ALIVE = ("-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3")


@dataclass(frozen=True)
class Endpoint:
    """An address at which an array answers. `user` and `port` None: as OpenSSH's own configuration has them."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def words(self) -> tuple[str, ...]:
        """The destination's words on ssh's command line."""
        port = ("-p", str(self.port)) if self.port else ()
        user = ("-l", self.user) if self.user else ()
        return (*port, *user, "--", self.host)


@dataclass(frozen=True)
class SshOptions:
    """Files that OpenSSH is to use in the place of its own; None: its own. `program`: the words that start it."""

    identity: Path | None = None
    known_hosts: Path | None = None
    config: Path | None = None
    program: tuple[str, ...] = ("ssh",)


def parse_endpoint(text: str) -> Endpoint:
    """`ssh://[USER@]HOST[:PORT]`. Raises BadInput: what could be read as an option of ssh is no host."""
    wanted = f"address {text!r}: wanted ssh://[USER@]HOST[:PORT]; nothing was done"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise BadInput(wanted) from None
    host = url.hostname or ""
    if url.scheme != "ssh" or url.path not in ("", "/") or url.query or url.fragment or url.password is not None:
        raise BadInput(wanted)
    if not _HOST.fullmatch(host) or (url.username is not None and not _USER.fullmatch(url.username)) or port == 0:
        raise BadInput(wanted)
    return Endpoint(host, url.username, port)


def ssh_words(
    endpoint: Endpoint,
    options: SshOptions,
    command: Sequence[str],
    *,
    connect_timeout: float,
    master: Path | None = None,
    bulk: bool = False,
) -> list[str]:
    """The whole command line that runs `command` at an endpoint; each of its words is quoted for the far shell.

    `master`: a socket over which connections are shared. `bulk`: for much data, so a cipher that the processor helps with goes first.
    """
    words = [*options.program, "-T", "-x", "-a"]
    if options.config is not None:
        words += ["-F", str(options.config)]
    words += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"]
    words += ["-o", f"ConnectTimeout={max(1, int(connect_timeout))}", "-o", "ConnectionAttempts=1", *_ALIVE]
    words += ["-o", "EscapeChar=none", "-o", "PermitLocalCommand=no", "-o", "ClearAllForwardings=yes"]
    words += ["-o", "LogLevel=INFO", "-o", "RequestTTY=no"]
    if options.identity is not None:
        words += ["-o", f"IdentityFile={_value(options.identity)}", "-o", "IdentitiesOnly=yes"]
    if options.known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={_value(options.known_hosts)}", "-o", "GlobalKnownHostsFile=/dev/null"]
    if master is None:
        words += ["-o", "ControlPath=none", "-o", "ControlMaster=no"]
    else:
        words += ["-o", f"ControlPath={_value(master)}", "-o", "ControlMaster=auto", "-o", "ControlPersist=5"]
    if bulk:
        words += fast_ciphers()
    return [*words, *endpoint.words, " ".join(shlex.quote(word) for word in command)]


def _value(path: Path) -> str:
    """A path as a value of an OpenSSH option: `%` starts a token there, and a blank ends the value."""
    return '"' + str(path).replace("%", "%%") + '"'


# -- what its failures mean ---------------------------------------------------------------------------

# (what OpenSSH or the far shell says, kind, sentence). The first that is found counts: the changed host key comes before the refused one.
_SAYINGS: tuple[tuple[str, type[DrError], str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        NotReady,
        "its host key is not the one that is known for it: either it was installed anew, or something else answers in its place. "
        "Compare the key with the machine's own (on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); only if it is right: {remove}, then {add}",
    ),
    (
        r"No [A-Z0-9-]+ host key is known for .* strict checking|Host key verification failed",
        NotReady,
        "its host key is not known here, so what answers may be anything. Show it with {show}, compare it with the machine's own "
        "(on it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then add it with {add}",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE",
        NotReady,
        "the private key's file can be read by others, so OpenSSH does not use it; set its mode to 600",
    ),
    (
        r"Permission denied \(|Too many authentication failures|No supported authentication methods",
        NotReady,
        "the key was refused: put the public key in the account's authorized_keys, or correct the user or the identity ({found})",
    ),
    (
        r"Bad configuration option|Bad owner or permissions on|Can't open user config file|bad configuration options|Bad SSH2 cipher|keyword .* extra arguments",
        BadInput,
        "OpenSSH's own configuration is wrong ({found}); correct it",
    ),
    (r"Unable to negotiate with", NotReady, "no algorithm is known to both sides ({found}); update the older one"),
    (
        r"Could not resolve hostname",
        Unreachable,
        "its name is not known ({found}); correct the address or the resolver",
    ),
    (
        r"Connection refused",
        Unreachable,
        "the machine answers, but no SSH server does there (connection refused); start sshd, or correct the port",
    ),
    (r"No route to host|Network is unreachable", Unreachable, "there is no route to it ({found})"),
    (
        r"[Tt]imed out|Timeout, server .* not responding|Timeout before authentication",
        Unreachable,
        "it gave no answer in time ({found})",
    ),
    (
        r"Connection (closed|reset)|Connection to .* closed|Broken pipe|kex_exchange_identification|ssh_dispatch_run_fatal|banner exchange|mux_client|Control socket connect",
        Unreachable,
        "the connection was cut ({found})",
    ),
    (
        r"dr: python \S+ is too old",
        NotReady,
        "{found}; wanted python3 of version 3.8 or newer there",
    ),
    (
        r"python3['’]?: (command )?not found|python3: No such file|python3.*not found",
        NotReady,
        "there is no python3 on it; install it (3.8 or newer)",
    ),
    (
        r"This account is currently not available|nologin",
        NotReady,
        "the account has no shell ({found}); give it one, or correct the user",
    ),
    (
        r"administratively prohibited|open failed|Session open refused",
        NotReady,
        "its SSH server does not let a session be opened ({found})",
    ),
)


def explain(
    where: str, endpoint: Endpoint, options: SshOptions, stderr: str, status: int | None, *, started: bool = False
) -> DrError:
    """The error for an ssh that ended (`status`: its exit status) or was given up (None) with these words on stderr.

    `started`: the far side had answered, so what ended was a working connection.
    """
    for pattern, kind, sentence in _SAYINGS:
        match = re.search(pattern, stderr)
        if match:
            return kind(
                f"{where} at {endpoint}: {sentence.format(found=_line(stderr, match.start()), **_commands(endpoint, options))}"
            )
    last = _last(stderr)
    if status is None or started or (status == 255 and not last):
        return Unreachable(
            f"{where} at {endpoint}: {'the connection was cut' if started else 'no answer in time'}{f' ({last})' if last else ''}"
        )
    if status == 255:
        return Unreachable(f"{where} at {endpoint}: no SSH connection ({last})")
    return DeviceFault(
        f"{where} at {endpoint}: the program on it ended with status {status} ({last or 'without a word'})"
    )


def _commands(endpoint: Endpoint, options: SshOptions) -> Mapping[str, str]:
    file = str(options.known_hosts) if options.known_hosts is not None else "~/.ssh/known_hosts"
    port = ["-p", str(endpoint.port)] if endpoint.port else []
    scan = shlex.join(["ssh-keyscan", *port, endpoint.host])
    name = f"[{endpoint.host}]:{endpoint.port}" if endpoint.port not in (None, 22) else endpoint.host
    quoted = file if file.startswith("~/") else shlex.quote(file)
    return {
        "show": f"`{scan} | ssh-keygen -lf -`",
        "add": f"`{scan} >> {quoted}`",
        "remove": f"`{shlex.join(['ssh-keygen', '-R', name])} -f {quoted}`",
    }


def _line(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : end if end >= 0 else None].strip()[:300]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""

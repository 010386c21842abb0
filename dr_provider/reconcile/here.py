"""What readiness needs to know of the machine that asks: which credentials lead to a secret here, and where state and repository are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import parse_qs, urlsplit

from dr_provider.model import addresses, credentials
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import path_text
from dr_provider.model.references import callout_references, machine_references
from dr_provider.model.topology import ELSEWHERE, Topology

__all__ = ["Here", "look_here", "place_of"]

_SERVICES = ("pulumi.com", "amazonaws.com", "github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "azure.com")
"""Hosted for everybody, so at nobody's site."""


@dataclass(frozen=True)
class Here:
    """`faults`: why a credential leads to no secret on this machine, by its path in the topology ("arrays.west-a.credentials").

    `backend` and `repository`: the address of the state backend in use and of the repository's remote; None: not known.
    """

    faults: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    repository: str | None = None


def look_here(topology: Topology, *, backend: str | None = None, repository: str | None = None) -> Here:
    """Resolve every credential once. No secret is kept."""
    faults = {}
    callouts = chain.from_iterable(callout_references(plan) for plan in topology.plans.values())
    for path, reference in chain(machine_references(topology), callouts):
        try:
            credentials.resolve(reference, reference)
        except (BadInput, ValueError) as error:
            faults[path_text(path)] = str(error)
    return Here(faults, backend, repository)


def place_of(topology: Topology, address: str) -> str | None:
    """The site of the machine that a URL names, `elsewhere` for a hosted service, None where that cannot be known: a folder of this
    machine, or a host that the topology does not name. Pure."""
    parts = urlsplit(address)
    if parts.scheme in ("s3", "gs", "azblob"):
        # A bucket is the provider's, unless the address names a server of one's own.
        own = parse_qs(parts.query).get("endpoint", [""])[0]
        host = urlsplit(own if "//" in own else f"//{own}").hostname if own else "amazonaws.com"
    elif parts.scheme in ("http", "https", "ssh", "git"):
        host = parts.hostname
    elif not parts.scheme and ":" in address:  # git's short form: git@host:path
        host = address.partition(":")[0].rpartition("@")[2]
    else:
        host = None
    if not host:
        return None
    if any(host == name or host.endswith(f".{name}") for name in _SERVICES):
        return ELSEWHERE
    return next((site for known, site in _machines(topology) if known == host), None)


def _machines(topology: Topology) -> Iterator[tuple[str, str]]:
    """Names and addresses of arrays and hosts, each with its site."""
    for array in topology.arrays.values():
        endpoints = array.options.get("endpoints")
        for endpoint in endpoints if isinstance(endpoints, list) else ():
            yield addresses.ssh(str(endpoint)).host, array.site
    for host in topology.hosts.values():
        uri = host.options.get("uri")
        if isinstance(uri, str) and (name := urlsplit(uri).hostname):
            yield name, host.site

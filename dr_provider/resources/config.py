"""A stack's config, read and checked against its topology: every fault is found at once, before any resource is declared."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import pulumi

from dr_provider.model.errors import BadInput
from dr_provider.model.loader import load
from dr_provider.model.stack_config import KEYS, StackWords, read_words
from dr_provider.model.topology import Topology

__all__ = ["StackConfig", "read_config"]


@dataclass(frozen=True, kw_only=True)
class StackConfig(StackWords):
    """`stack` is "project/stack"."""

    topology: Topology
    stack: str


def read_config(folder: Path) -> StackConfig:
    """The config of the stack that is being run; paths count from `folder`. Raises BadInput with every fault."""
    config = pulumi.Config("dr")
    path = config.get("topology")
    if not path:
        raise BadInput(
            "dr:topology: wanted the path of a topology file; set it with: pulumi config set dr:topology topology/NAME.yaml"
        )
    topology = load(folder / path)
    found = {key: _value(config, key) for key in KEYS}
    words = read_words(topology, found.get)
    return StackConfig(
        topology=topology,
        stack=f"{pulumi.get_project()}/{pulumi.get_stack()}",
        **{each.name: getattr(words, each.name) for each in fields(words)},
    )


def _value(config: pulumi.Config, key: str) -> object:
    if key == "mode":
        return config.get(key)
    try:
        found: object = config.get_object(key)
    except pulumi.ConfigTypeError:
        # What is no JSON is text, and the check says what was wanted in its place.
        return config.get(key)
    return found

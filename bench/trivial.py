"""The peer of the preview: a dynamic resource that does nothing."""

from __future__ import annotations

from typing import Any

from pulumi import ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

__all__ = ["Trivial", "TrivialProvider", "declare"]


class TrivialProvider(ResourceProvider):
    """Importable, and so stored by reference, as the project's own providers are."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(str(props["name"]), props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=False)


class Trivial(Resource):
    def __init__(self, name: str, opts: ResourceOptions | None = None) -> None:
        super().__init__(TrivialProvider(), name, {"name": name}, opts)


def declare(count: int) -> None:
    """As many as that."""
    for number in range(count):
        Trivial(f"trivial-{number}")

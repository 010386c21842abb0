"""The Pulumi engine: found, cached, fetched or built, and linked into the venv.

Order: a `pulumi` on PATH that is new enough and brings its Python language host; one that an earlier set-up cached
outside the checkout; the vendor's installer; a build from Go modules. The engine looks for its language host on PATH
and beside its own (resolved) binary, and the host for `-python-exec` beside itself, so links to a complete folder do.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.setup.console import SetupError, probe, say
from tools.setup.engine_sources import (
    build_from_modules,
    built_name,
    install_from_vendor,
    vendor_name,
)
from tools.setup.layout import Layout
from tools.setup.stamps import Stamp, content_key, exclusive

__all__ = ["engine_is_ready", "set_up_engine"]

OLDEST = (3, 200)
PARTS = (
    "pulumi",
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-pulumi-python",
)


@dataclass(frozen=True)
class Engine:
    """A folder with everything that PARTS names."""

    folder: Path
    version: str
    origin: str


def version_of(binary: Path) -> tuple[int, ...] | None:
    """The version that a `pulumi` says it has, or None if it does not run."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"PULUMI_HOME": home, "PULUMI_SKIP_UPDATE_CHECK": "true"}
        said = probe([str(binary), "version"], env=env)
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said or "")
    return tuple(int(part) for part in found.groups()) if found else None


def inspect(folder: Path, origin: str) -> Engine | str:
    """The engine in a folder, or the reason why it will not do."""
    for part in PARTS:
        if not os.access(folder / part, os.X_OK):
            return f"there is no {part} beside it"
    version = version_of(folder / "pulumi")
    if version is None:
        return "it does not answer `pulumi version`"
    text = ".".join(map(str, version))
    if version < OLDEST:
        return f"its version is {text}, {'.'.join(map(str, OLDEST))} or newer is needed"
    return Engine(folder, text, origin)


def _system_pulumi(layout: Layout) -> Path | None:
    found = shutil.which("pulumi", path=layout.outside_path())
    # A link to the cache, made by the set-up of another checkout whose venv is on PATH, is ours too.
    if found is None or Path(found).resolve().is_relative_to(layout.cache.resolve()):
        return None
    return Path(found)


def _from_path(layout: Layout) -> Engine | None:
    found = _system_pulumi(layout)
    if found is None:
        return None
    # A package manager links `pulumi` alone to where the rest of it is; others keep all of it in one folder.
    reasons: list[str] = []
    for folder in dict.fromkeys((found.resolve().parent, found.parent)):
        seen = inspect(folder, "PATH")
        if isinstance(seen, Engine):
            return seen
        reasons.append(seen)
    say(f"the engine at {found} is not used: {reasons[0]}")
    return None


def _cached_names(layout: Layout) -> list[tuple[str, str]]:
    return [
        (vendor_name(layout), "the cache (vendor's installer)"),
        (built_name(layout), "the cache (built from Go modules)"),
    ]


def _from_cache(layout: Layout) -> Engine | None:
    for name, origin in _cached_names(layout):
        for folder in (layout.cache / name / "bin", layout.cache / name):
            seen = inspect(folder, origin)
            if isinstance(seen, Engine):
                return seen
    return None


def _obtain(layout: Layout) -> Engine:
    engine = _from_path(layout) or _from_cache(layout)
    if engine is not None:
        return engine
    # Only one set-up at a time fills the cache; whoever waited finds what the other has put there.
    with exclusive(layout.cache / "lock", "the Pulumi engine"):
        engine = _from_cache(layout)
        if engine is not None:
            return engine
        why_not = install_from_vendor(layout)
        if why_not is not None:
            say(f"the vendor's installer brought no engine ({why_not}); building one from Go modules instead")
            build_from_modules(layout)
        engine = _from_cache(layout)
    if engine is None:
        raise SetupError(
            f"The Pulumi engine that was put into {layout.cache} is not whole: remove that folder, then try again."
        )
    return engine


def _key(layout: Layout) -> str:
    """Changes when another `pulumi` comes to PATH or goes, when a version is raised, or when the cache has moved."""
    found = _system_pulumi(layout)
    system = "none"
    if found is not None:
        facts = found.resolve().stat()
        system = f"{found.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    return content_key(system, str(layout.cache), *(name for name, _ in _cached_names(layout)))


def engine_is_ready(layout: Layout) -> bool:
    # A cache that was emptied leaves links that lead nowhere.
    return Stamp(layout.stamps, "engine").holds(_key(layout)) and all((layout.bin / part).exists() for part in PARTS)


def _link(target: Path, link: Path) -> None:
    partial = link.with_name(f".{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(link)


def set_up_engine(layout: Layout) -> None:
    """Link a working engine into the venv; needs the venv's packages (the vendor's installer is one of them)."""
    if engine_is_ready(layout):
        return
    key = _key(layout)
    stamp = Stamp(layout.stamps, "engine")
    stamp.begin()
    engine = _obtain(layout)
    for part in PARTS:
        _link((engine.folder / part).absolute(), layout.bin / part)
    stamp.complete(key)
    say(f"the Pulumi engine {engine.version} comes from {engine.origin}")

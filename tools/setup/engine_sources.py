"""Two ways to an engine that is not there yet: the vendor's installer, and a build from Go modules.

Both fill a folder of the cache: they work in a temporary one beside it and rename that when it is complete.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.setup.console import SetupError, probe, run, say
from tools.setup.layout import Layout

__all__ = ["build_from_modules", "built_name", "install_from_vendor", "vendor_name"]

# How long the network may be silent before the vendor's installer is given up.
SILENCE = 20.0
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
ENGINE_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
HOST_PACKAGE = f"{SDK_MODULE}/python/cmd/pulumi-language-python"
# Scripts that the engine's SDK module carries; the module cache keeps no executable bit.
SCRIPTS = ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python")


def _required(go_mod: Path, module: str) -> str:
    """The version at which a wrapper module pins another."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+v(\S+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise SetupError(f"{go_mod} does not name {module}.")
    return found.group(1)


def vendor_name(layout: Layout) -> str:
    pinned = re.search(r"^pulumi==(\S+)", (layout.root / "requirements.txt").read_text(), re.MULTILINE)
    if pinned is None:
        raise SetupError("requirements.txt does not pin pulumi.")
    return f"vendor-{pinned.group(1)}-{layout.platform}"


def built_name(layout: Layout) -> str:
    engine = _required(layout.root / "tools" / "engine" / "go.mod", SDK_MODULE)
    host = _required(layout.root / "tools" / "language-host" / "go.mod", SDK_MODULE)
    return f"built-{engine}-host-{host}-{layout.platform}"


@contextmanager
def _new_folder(layout: Layout, name: str) -> Iterator[Path]:
    """A folder that takes its place in the cache only if the block ends well. The cache's lock is held by the caller."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    for left_over in layout.cache.glob(f"{name}.partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.partial-", dir=layout.cache))
    try:
        yield partial
        final = layout.cache / name
        if final.exists():
            shutil.rmtree(final)
        partial.chmod(0o755)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _size_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue  # a temporary file that went in between
    return total


def install_from_vendor(layout: Layout) -> str | None:
    """Let the vendor's installer have its try; None when it brought an engine, else the reason in a few words."""
    say("asking the vendor's installer for the Pulumi engine")
    name = vendor_name(layout)
    log = layout.logs / "vendor.log"
    try:
        with _new_folder(layout, name) as folder:
            # The installer's own temporary files go below the folder too: their growth is the sign of life.
            scratch = folder / "tmp"
            scratch.mkdir()
            install = "import sys; from pulumi.automation import PulumiCommand; PulumiCommand.install(root=sys.argv[1])"
            run(
                [str(layout.python), "-c", install, str(folder)],
                label="the vendor's installer",
                log=log,
                cwd=layout.root,
                env=os.environ | {"TMPDIR": str(scratch), "PULUMI_SKIP_UPDATE_CHECK": "true"},
                alive=lambda: _size_below(folder),
                silence=SILENCE,
                quiet=True,
            )
            shutil.rmtree(scratch)
            if not os.access(folder / "bin" / "pulumi", os.X_OK):
                raise SetupError("it left no bin/pulumi")
    except SetupError as problem:
        return str(problem).rstrip(".")
    return None


def _go(layout: Layout) -> str:
    """The go command, new enough for the wrapper modules; a SetupError says what to install otherwise."""
    advice = "Install Pulumi (3.200 or newer) or Go, then run make again."
    wanted_text = re.search(r"^go (\S+)", (layout.root / "tools" / "engine" / "go.mod").read_text(), re.MULTILINE)
    wanted = wanted_text.group(1) if wanted_text else "1.25"
    go = shutil.which("go")
    if go is None:
        raise SetupError(
            "There is no Pulumi engine on PATH, its installer could not be used, "
            f"and there is no Go {wanted} to build one. {advice}"
        )
    found = probe([go, "env", "GOVERSION", "GOTOOLCHAIN"])
    said, _, toolchain = (found or "").partition("\n")
    version = re.match(r"go(\d+(?:\.\d+)*)", said)
    if version is None:
        raise SetupError(f"{go} does not say its version (`go env GOVERSION`). {advice}")
    numbers = [int(part) for part in version.group(1).split(".")]
    # From 1.21 on go fetches the toolchain that a module asks for, unless told not to.
    fetches = toolchain != "local" and numbers >= [1, 21]
    if numbers < [int(part) for part in wanted.split(".")] and not fetches:
        raise SetupError(f"Building the Pulumi engine needs Go {wanted} or newer, this is {version.group(1)}. {advice}")
    return go


def build_from_modules(layout: Layout) -> None:
    """Build the engine and the Python language host; what go compiled before an interruption is in its own cache."""
    go = _go(layout)
    name = built_name(layout)
    engine_module = layout.root / "tools" / "engine"
    version = _required(engine_module / "go.mod", SDK_MODULE)
    env = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    common = [go, "build", "-trimpath"]
    stamp_version = f"-X {SDK_MODULE}/go/common/version.Version=v{version}"
    with _new_folder(layout, name) as folder:
        say("building the Python language host from Go modules (under a minute)")
        run(
            [*common, "-ldflags", "-s -w", "-o", str(folder / "pulumi-language-python"), HOST_PACKAGE],
            label="building the language host",
            log=layout.logs / "language-host.log",
            cwd=layout.root / "tools" / "language-host",
            env=env,
        )
        say(f"building the Pulumi engine {version} from Go modules (five to ten minutes on two cores)")
        run(
            [
                *(*common, "-tags", "osusergo,grpcnotrace", "-ldflags", f"-s -w {stamp_version}"),
                *("-o", str(folder / "pulumi"), ENGINE_PACKAGE),
            ],
            label="building the engine",
            log=layout.logs / "engine.log",
            cwd=engine_module,
            env=env,
        )
        source = probe([go, "list", "-m", "-f", "{{.Dir}}", SDK_MODULE], env=env, cwd=engine_module)
        if not source:
            raise SetupError(f"go does not say where it keeps {SDK_MODULE} (`go list -m` in {engine_module}).")
        for script in SCRIPTS:
            target = folder / Path(script).name
            shutil.copyfile(Path(source) / script, target)
            target.chmod(0o755)

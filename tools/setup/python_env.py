"""The venv: the interpreter, the pinned packages, and the project itself."""

import importlib.util
import os
import re
import shutil
import sys

from tools.setup.console import SetupError, run, say
from tools.setup.layout import Layout, base_python
from tools.setup.stamps import Stamp, content_key

__all__ = ["python_is_ready", "set_up_python"]


def _keys(layout: Layout) -> dict[str, str]:
    requirements = layout.root / "requirements.txt"
    # The scripts in a venv name its path, so a checkout that was moved needs a new one.
    venv = content_key(str(layout.root), base_python(), sys.version)
    packages = content_key(venv, requirements)
    # Whether the package is there at all decides what the editable install maps.
    package_there = str((layout.root / "dr_provider" / "__init__.py").is_file())
    return {
        "venv": venv,
        "packages": packages,
        "project": content_key(packages, layout.root / "pyproject.toml", package_there),
    }


def python_is_ready(layout: Layout) -> bool:
    keys = _keys(layout)
    return layout.python.exists() and all(Stamp(layout.stamps, step).holds(key) for step, key in keys.items())


def _environment() -> dict[str, str]:
    """A user's or a caller's Python settings must not reach the venv's pip."""
    dropped = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONNOUSERSITE": "1"}


def _make_venv(layout: Layout, key: str) -> None:
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        raise SetupError(
            f"{base_python()} has no module {' and no module '.join(missing)}: "
            "install your system's package for it (Debian and Ubuntu: python3-venv)."
        )
    say(f"making .venv with Python {sys.version.split()[0]}")
    if layout.venv.is_symlink():
        layout.venv.unlink()
    elif layout.venv.exists():
        shutil.rmtree(layout.venv)
    stamp = Stamp(layout.stamps, "venv")
    run(
        [base_python(), "-m", "venv", str(layout.venv)],
        label="making .venv",
        log=layout.logs / "venv.log",
        cwd=layout.root,
        env=_environment(),
    )
    stamp.complete(key)


def _install_packages(layout: Layout, key: str) -> None:
    requirements = layout.root / "requirements.txt"
    wanted = len(re.findall(r"^[A-Za-z0-9][^=\s]*==", requirements.read_text(), re.MULTILINE))
    say(f"installing {wanted} Python packages from requirements.txt")
    stamp = Stamp(layout.stamps, "packages")
    again = stamp.begin()
    argv = [str(layout.python), "-m", "pip", "install", "--require-hashes", "--progress-bar", "off"]
    if again:
        # A package whose installation was cut short can look installed; its download is still in pip's cache.
        argv.append("--force-reinstall")

    def progress(output: str) -> str:
        if "Installing collected packages" in output:
            return "unpacking"
        return f"{len(re.findall(r'^Collecting ', output, re.MULTILINE))} of {wanted} fetched"

    run(
        [*argv, "-r", str(requirements)],
        label="Python packages",
        log=layout.logs / "packages.log",
        cwd=layout.root,
        env=_environment(),
        progress=progress,
    )
    stamp.complete(key)


def _install_project(layout: Layout, key: str) -> None:
    say("installing the project itself (editable)")
    stamp = Stamp(layout.stamps, "project")
    stamp.begin()
    run(
        [str(layout.python), "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-e", "."],
        label="installing the project",
        log=layout.logs / "project.log",
        cwd=layout.root,
        env=_environment(),
    )
    stamp.complete(key)


def set_up_python(layout: Layout) -> None:
    """Bring the venv to what requirements.txt and pyproject.toml say, doing only what is not done."""
    keys = _keys(layout)
    for step, do in (("venv", _make_venv), ("packages", _install_packages), ("project", _install_project)):
        there = layout.python.exists()
        if not (there and Stamp(layout.stamps, step).holds(keys[step])):
            do(layout, keys[step])

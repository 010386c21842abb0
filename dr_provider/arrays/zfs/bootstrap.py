"""How the remote program gets onto an array: as text over the connection, at each connection anew. Nothing needs to be installed there.

The command line holds only a few lines of Python that read one line from stdin and run it; that line is the packed sources of
`dr_provider.arrays.zfs.remote`, a finder that imports them from memory, and the configuration. Compiling takes longer than all else of a
short call, so the compiled form is kept, as Python does with modules: in ~/.cache/dr of the account, under a name made of the sources.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

__all__ = ["BOOTSTRAP", "payload", "sources_of_remote"]

PACKAGE = "dr_remote"

_KEPT = 4
"""Programs whose compiled form stays in the account's cache folder: of as many versions of `dr`."""

BOOTSTRAP = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("dr: python %d.%d is too old" % sys.version_info[:2])
import base64, zlib
exec(zlib.decompress(base64.b64decode(sys.stdin.buffer.readline())).decode())
"""

_LOADER = """\
import hashlib, importlib.abc, importlib.util, json, marshal, os, sys

def _compiled():
    said = repr((sys.version, sorted(SOURCES.items()))).encode()
    folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dr")
    path = os.path.join(folder, "remote-" + hashlib.sha256(said).hexdigest()[:32])
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        safe = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    except OSError:
        safe = False
    if safe:
        try:
            with open(path, "rb") as file:
                mark, body = file.read(32), file.read()
            if hashlib.sha256(body).digest() == mark:
                return marshal.loads(body)
        except OSError:
            pass
    codes = {name: compile(text, "<%s>" % name, "exec", dont_inherit=True) for name, text in SOURCES.items()}
    if safe:
        body = marshal.dumps(codes)
        draft = "%s.%d" % (path, os.getpid())
        try:
            with open(draft, "wb") as file:
                file.write(hashlib.sha256(body).digest() + body)
            os.replace(draft, path)
            kept = sorted((os.path.join(folder, each) for each in os.listdir(folder) if each.startswith("remote-")), key=os.path.getmtime)
            for old in kept[:-KEPT]:
                os.unlink(old)
        except OSError:
            pass
    return codes

CODES = _compiled()

class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=name == PACKAGE)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__name__
        exec(CODES[name], module.__dict__)

sys.meta_path.insert(0, _Finder())
from importlib import import_module
for name in sorted(SOURCES):  # each makes its operations known
    import_module(name)
sys.modules[PACKAGE + ".serve"].main(json.loads(CONFIG))
"""


@cache
def sources_of_remote() -> dict[str, str]:
    """Module name on the array -> text."""
    found = {}
    for entry in resources.files("dr_provider.arrays.zfs.remote").iterdir():
        stem, dot, ending = entry.name.partition(".")
        if dot and ending == "py":
            name = PACKAGE if stem == "__init__" else f"{PACKAGE}.{stem}"
            found[name] = entry.read_text(encoding="utf-8")
    return found


def payload(config: Mapping[str, object], sources: Mapping[str, str] | None = None) -> bytes:
    """The line that BOOTSTRAP reads. `sources`: module name -> text, in the place of the remote package's (tests)."""
    text = "\n".join(
        (
            f"PACKAGE = {PACKAGE!r}",
            f"KEPT = {_KEPT}",
            f"CONFIG = {json.dumps(dict(config))!r}",
            f"SOURCES = {dict(sources or sources_of_remote())!r}",
            _LOADER,
        )
    )
    return base64.b64encode(zlib.compress(text.encode())) + b"\n"

"""How the remote program gets onto an array: as text over the connection, at each connection anew. Nothing is installed there.

The command line holds only a few lines of Python that read one line from stdin and run it; that line is the packed sources of
`dr_provider.arrays.zfs.remote`, a finder that imports them from memory, and the configuration.
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

BOOTSTRAP = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("dr: python %d.%d is too old" % sys.version_info[:2])
import base64, zlib
exec(zlib.decompress(base64.b64decode(sys.stdin.buffer.readline())).decode())
"""

_LOADER = """\
import importlib.abc, importlib.util, json, sys

class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=name == PACKAGE)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__name__
        exec(compile(SOURCES[name], "<%s>" % name, "exec", dont_inherit=True), module.__dict__)

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
            f"CONFIG = {json.dumps(dict(config))!r}",
            f"SOURCES = {dict(sources or sources_of_remote())!r}",
            _LOADER,
        )
    )
    return base64.b64encode(zlib.compress(text.encode())) + b"\n"

"""What the guests boot and begin with: kernel, initramfs, and a disk with an empty ledger; made once, in the user's cache."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from lab.cpio import Entry, archive
from lab.layout import CACHE, LabError
from lab.run import run

__all__ = ["DISK_SIZE", "FILES", "MODULES", "build", "compile_ledger", "make_disk", "place", "take_kernel"]

DISK_SIZE = 32 * 1024**2
"""Bytes of the guests' disk image; a LUN may be larger."""

FILES = ("vmlinuz", "initrd.gz", "ledger.img")
"""Kernel, initramfs, and the disk with an empty ledger."""

MODULES = (
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "char/virtio_console",
    "net/core/failover",
    "net/net_failover",
    "net/virtio_net",
    "input/evdev",
    "acpi/button",
)
"""In the order in which they are loaded; ext4 is part of Debian's cloud kernel itself."""

_GUEST = Path(__file__).with_name("guest")


# -- kernel -----------------------------------------------------------------------------------


def take_kernel(tree: Path, into: Path) -> None:
    """From an unpacked kernel package: `vmlinuz` and the modules, uncompressed, as `into/NAME.ko`."""
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copyfile(kernel, into / "vmlinuz")
    for module in MODULES:
        name = module.rpartition("/")[2]
        found = sorted(path for path in (tree / "lib" / "modules").rglob(f"{name}.ko*"))
        if not found:
            raise LabError(f"the kernel package {kernel.name} has no module {name}; the guests cannot work without it")
        data = found[0].read_bytes()
        (into / f"{name}.ko").write_bytes(lzma.decompress(data) if found[0].suffix == ".xz" else data)


# -- initramfs --------------------------------------------------------------------------------


def compile_ledger(target: Path) -> None:
    """The guests' application as one static program, since the initramfs is to be small and complete."""
    flags = ["-O2", "-Wall", "-Wextra", "-static"]
    run(["gcc", *flags, "-o", str(target), str(_GUEST / "ledger.c")], what="the guests' ledger program", timeout=120)


def _with_libraries(programs: Sequence[Path]) -> dict[str, Entry]:
    """The programs under bin/, and their libraries where the loader looks for them."""
    tree: dict[str, Entry] = {}
    for program in programs:
        tree[f"bin/{program.name}"] = Entry.file(program.read_bytes(), executable=True)
        said = run(["ldd", str(program)], what=f"libraries of {program}").out
        for library in re.findall(r"(?:=> |^\s*)(/\S+) \(", said, re.MULTILINE):
            tree[library.lstrip("/")] = Entry.file(Path(library).read_bytes(), executable=True)
    return tree


def _initramfs(kernel: Path, ledger: Path) -> bytes:
    script = {path.name: Entry.file(path.read_bytes(), executable=True) for path in _GUEST.iterdir()}
    tree = {
        "dev/console": Entry(stat.S_IFCHR | 0o600, device=(5, 1)),
        "etc/inittab": Entry.file(b"::sysinit:/etc/rc\n::ctrlaltdel:/sbin/shutdown -r\n"),
        "etc/rc": script["rc"],
        "etc/qemu/fsfreeze-hook": script["fsfreeze-hook"],
        "etc/qemu/fsfreeze-hook.d": Entry(stat.S_IFDIR | 0o755),
        "etc/acpi/PWRF/00000080": script["shutdown"],
        **{name: Entry(stat.S_IFDIR | 0o755) for name in ("proc", "sys", "run", "tmp", "data", "root")},
        "init": Entry.link("bin/busybox"),
        "sbin": Entry.link("bin"),
        "usr/bin": Entry.link("../bin"),
        "usr/sbin": Entry.link("../bin"),
        "var/run": Entry.link("../run"),
        "bin/busybox": Entry.file(Path("/bin/busybox").read_bytes(), executable=True),
        "lib/modules/order": Entry.file("".join(f"{_file(module)}\n" for module in MODULES).encode()),
    }
    for applet in run(["/bin/busybox", "--list"], what="busybox").out.split():
        tree.setdefault(f"bin/{applet}", Entry.link("busybox"))
    for module in MODULES:
        tree[f"lib/modules/{_file(module)}"] = Entry.file((kernel / _file(module)).read_bytes())
    # util-linux's own fsfreeze knows the short options; qemu-ga calls `shutdown` by that name.
    tree |= _with_libraries([Path("/usr/sbin/qemu-ga"), Path("/usr/sbin/fsfreeze")])
    tree["bin/shutdown"] = script["shutdown"]
    tree["bin/ledger"] = Entry.file(ledger.read_bytes(), executable=True)
    return archive(tree)


def _file(module: str) -> str:
    return f"{module.rpartition('/')[2]}.ko"


# -- disk -------------------------------------------------------------------------------------


def make_disk(target: Path, size: int = DISK_SIZE) -> None:
    """A sparse ext4 image of `size` bytes, empty: the first boot begins its ledger.

    Everything is initialised now, so that a mounted guest at rest writes nothing that its application did not.
    """
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as file:
        file.truncate(size)
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-J", "size=4", "-N", "128", "-m", "0"]
    run(["mkfs.ext4", "-q", "-F", "-L", "data", *options, str(partial)], what=f"disk image {target}")
    partial.replace(target)


# -- all of it --------------------------------------------------------------------------------


def _key(kernel: Path) -> str:
    """Changes with anything that goes into the files."""
    sources = [
        *sorted(_GUEST.iterdir()),
        Path(__file__),
        Path("/bin/busybox"),
        Path("/usr/sbin/qemu-ga"),
        kernel / "vmlinuz",
    ]
    digest = sha256()
    for source in sources:
        digest.update(sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:20]


def build(kernel: Path, cache: Path = CACHE) -> Path:
    """The folder with FILES, made if it is not there. `kernel`: what `take_kernel` filled."""
    made = cache / f"guest-{_key(kernel)}"
    if made.is_dir():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as place:
        work = Path(place) / "guest"
        work.mkdir()
        compile_ledger(Path(place) / "ledger")
        shutil.copyfile(kernel / "vmlinuz", work / "vmlinuz")
        (work / "initrd.gz").write_bytes(_initramfs(kernel, Path(place) / "ledger"))
        make_disk(work / "ledger.img")
        try:
            work.rename(made)
        except OSError:
            # Another was quicker; what it made is the same.
            if not made.is_dir():
                raise
    return made


def place(made: Path, folder: Path) -> None:
    """Copy what `build` made to a lab, where it stays the same while the lab stands."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        if not (folder / name).exists():
            partial = folder / f"{name}.partial"
            run(["cp", "--sparse=always", str(made / name), str(partial)], what=f"the guests' {name}")
            partial.replace(folder / name)

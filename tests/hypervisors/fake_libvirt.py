"""A libvirt of one host in memory, with guests and their agents: as much of libvirt-python as the driver calls.

It answers as libvirt 9.0 and qemu-ga 7.2 do (numbers of errors, which copies metadata goes to, what a frozen agent still does).
"""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dr_provider.hypervisors.libvirt.binding import Modules
from dr_provider.hypervisors.libvirt.metadata import NAMESPACE

__all__ = ["CODES", "Domain", "FakeError", "FakeGuest", "FakeHost", "modules"]

# The numbers of libvirt/virterror.h and libvirt-domain.h.
CODES = {
    "VIR_ERR_INTERNAL_ERROR": 1,
    "VIR_ERR_NO_SUPPORT": 3,
    "VIR_ERR_NO_CONNECT": 5,
    "VIR_ERR_INVALID_ARG": 8,
    "VIR_ERR_OPERATION_FAILED": 9,
    "VIR_ERR_OPERATION_DENIED": 29,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_RPC": 39,
    "VIR_ERR_NO_DOMAIN": 42,
    "VIR_ERR_AUTH_FAILED": 45,
    "VIR_ERR_NO_STORAGE_POOL": 49,
    "VIR_ERR_OPERATION_INVALID": 55,
    "VIR_ERR_NO_SECRET": 66,
    "VIR_ERR_CONFIG_UNSUPPORTED": 67,
    "VIR_ERR_OPERATION_TIMEOUT": 68,
    "VIR_ERR_NO_DOMAIN_METADATA": 80,
    "VIR_ERR_AGENT_UNRESPONSIVE": 86,
    "VIR_ERR_ACCESS_DENIED": 88,
    "VIR_ERR_AUTH_UNAVAILABLE": 94,
    "VIR_ERR_AGENT_UNSYNCED": 97,
    "VIR_DOMAIN_RUNNING": 1,
    "VIR_DOMAIN_PAUSED": 3,
    "VIR_DOMAIN_SHUTOFF": 5,
    "VIR_DOMAIN_CRASHED": 6,
    "VIR_DOMAIN_SHUTOFF_CRASHED": 3,
    "VIR_DOMAIN_PAUSED_USER": 1,
    "VIR_DOMAIN_PAUSED_MIGRATION": 2,
    "VIR_DOMAIN_PAUSED_IOERROR": 5,
    "VIR_DOMAIN_PAUSED_WATCHDOG": 6,
    "VIR_DOMAIN_PAUSED_CRASHED": 10,
    "VIR_DOMAIN_PAUSED_STARTING_UP": 11,
    "VIR_DOMAIN_AFFECT_CURRENT": 0,
    "VIR_DOMAIN_AFFECT_LIVE": 1,
    "VIR_DOMAIN_AFFECT_CONFIG": 2,
    "VIR_DOMAIN_METADATA_ELEMENT": 2,
    "VIR_DOMAIN_DEFINE_VALIDATE": 1,
    "VIR_DOMAIN_START_FORCE_BOOT": 8,
    "VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN": 1,
    "VIR_DOMAIN_UNDEFINE_MANAGED_SAVE": 1,
    "VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA": 2,
    "VIR_DOMAIN_UNDEFINE_NVRAM": 4,
    "VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA": 16,
    "VIR_CONNECT_LIST_DOMAINS_ACTIVE": 1,
    "VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE": 2,
    "VIR_SECRET_USAGE_TYPE_ISCSI": 3,
    "VIR_SECRET_USAGE_TYPE_TLS": 4,
}
_FROZEN_DOES = {"guest-ping", "guest-fsfreeze-status", "guest-fsfreeze-thaw"}


class FakeError(Exception):
    """libvirt.libvirtError."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.number, self.message = CODES[name], message

    def get_error_code(self) -> int:
        return self.number

    def get_error_message(self) -> str:
        return self.message


@dataclass
class FakeGuest:
    """A guest and its agent. `frozen`: file systems held; `believes`: the agent takes itself for frozen; `refuses`: commands that it does not do."""

    filesystems: int = 2
    agent: bool = True
    refuses: frozenset[str] = frozenset()
    listens: bool = True
    shuts_down: bool = True
    frozen: int = 0
    believes: bool = False
    processes: dict[int, list[str]] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    addresses: list[tuple[str, int]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    on_freeze: Callable[[], None] = lambda: None

    def kernel_thaws(self) -> None:
        """What the sleeper in the guest does: the agent hears nothing of it."""
        self.frozen = 0
        self.processes.clear()


class Domain:
    """virDomain."""

    def __init__(self, host: FakeHost, xml: str) -> None:
        self.host = host
        self.config: str | None = xml
        self.live: str | None = None
        self.guest = host.new_guest()
        self.status = (CODES["VIR_DOMAIN_SHUTOFF"], 0)
        self.number = -1
        root = ET.fromstring(xml)
        self._name, self._uuid = root.findtext("name") or "", root.findtext("uuid") or ""

    # -- facts

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return self._uuid

    def ID(self) -> int:  # noqa: N802
        return self.number

    def isActive(self) -> int:  # noqa: N802
        self.host.answer()
        return int(self.live is not None)

    def isPersistent(self) -> int:  # noqa: N802
        return int(self.config is not None)

    def state(self, _flags: int) -> list[int]:
        self.host.answer()
        return list(self.status)

    def info(self) -> list[int]:
        root = ET.fromstring(self.current)
        memory, cpus = int(root.findtext("memory") or 0) >> 10, int(root.findtext("vcpu") or 0)
        return [self.status[0], memory, memory, cpus, 0]

    @property
    def current(self) -> str:
        return self.live or self.config or ""

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        self.host.answer()
        if self._name in self.host.gone:
            raise FakeError("VIR_ERR_NO_DOMAIN", "Domain not found: no domain with matching uuid")
        return self.current

    def blockInfo(self, target: str, _flags: int) -> list[int]:  # noqa: N802
        self.host.answer()
        if target not in self.host.sizes:
            raise FakeError("VIR_ERR_INTERNAL_ERROR", "internal error: missing storage backend")
        return [self.host.sizes[target], 0, 0]

    # -- metadata

    def metadata(self, _kind: int, uri: str, _flags: int) -> str:
        self.host.answer()
        element = ET.fromstring(self.current).find(f"metadata/{{{uri}}}vm")
        if element is None:
            raise FakeError("VIR_ERR_NO_DOMAIN_METADATA", "metadata not found")
        element.tag = "vm"
        return ET.tostring(element, encoding="unicode")

    def setMetadata(self, _kind: int, text: str, key: str, uri: str, flags: int) -> None:  # noqa: N802
        self.host.answer()
        if flags & CODES["VIR_DOMAIN_AFFECT_LIVE"] and self.live is not None:
            self.live = _with_metadata(self.live, text, key, uri)
        if flags & CODES["VIR_DOMAIN_AFFECT_CONFIG"] and self.config is not None:
            self.config = _with_metadata(self.config, text, key, uri)

    # -- power

    def createWithFlags(self, _flags: int) -> None:  # noqa: N802
        self.host.answer()
        if self.config is None or self.live is not None:
            raise FakeError("VIR_ERR_OPERATION_INVALID", "Requested operation is not valid: domain is already running")
        for source in ET.fromstring(self.config).findall("devices/disk/source"):
            target = source.get("name") or str(source.get("dev"))
            if target in self.host.lost:
                name, _, lun = target.rpartition("/")
                said = json.dumps(
                    {"driver": "iscsi", "target": name, "lun": int(lun or 0), "node-name": "libvirt-1-storage"}
                )
                raise FakeError(
                    "VIR_ERR_INTERNAL_ERROR",
                    f"internal error: qemu unexpectedly closed the monitor: qemu-system-x86_64: -blockdev {said}: iSCSI: Failed to connect to LUN : Failed to log in to target",
                )
        self.host.started(self)

    def shutdownFlags(self, _flags: int) -> None:  # noqa: N802
        self.host.answer()
        if self.guest.shuts_down:
            self.off()

    def destroy(self) -> None:
        self.host.answer()
        self.off()

    def off(self, reason: int = 1) -> None:
        self.live, self.status, self.number = None, (CODES["VIR_DOMAIN_SHUTOFF"], reason), -1
        self.guest = self.host.new_guest()
        if self.config is None:
            self.host.domains.pop(self._name, None)

    def undefineFlags(self, flags: int) -> None:  # noqa: N802
        self.host.answer()
        self.host.undefined.append((self._name, flags))
        self.config = None
        if self.live is None:
            self.host.domains.pop(self._name, None)

    def agentSetResponseTimeout(self, _seconds: int, _flags: int) -> None:  # noqa: N802
        self.host.answer()

    # -- agent

    def agent_command(self, text: str, _seconds: int, _flags: int) -> str:
        self.host.answer()
        request = json.loads(text)
        command, words = request["execute"], request.get("arguments", {})
        guest = self.guest
        if self.live is None or not guest.agent:
            raise FakeError(
                "VIR_ERR_AGENT_UNRESPONSIVE", "Guest agent is not responding: QEMU guest agent is not connected"
            )
        if command in guest.refuses or (guest.believes and command not in _FROZEN_DOES):
            raise FakeError(
                "VIR_ERR_INTERNAL_ERROR", f"internal error: unable to execute QEMU agent command '{command}': disabled"
            )
        guest.commands.append(command)
        return json.dumps(
            {"return": getattr(self, command.replace("-", "_"))(**{k.replace("-", "_"): v for k, v in words.items()})}
        )

    def guest_ping(self) -> dict[str, Any]:
        return {}

    def guest_fsfreeze_status(self) -> str:
        return "frozen" if self.guest.believes else "thawed"

    def guest_fsfreeze_freeze(self) -> int:
        self.guest.on_freeze()
        self.guest.frozen, self.guest.believes = self.guest.filesystems, True
        return self.guest.filesystems

    def guest_fsfreeze_thaw(self) -> int:
        thawed, self.guest.frozen, self.guest.believes = self.guest.frozen, 0, False
        return thawed

    def guest_exec(self, path: str, arg: list[str], capture_output: bool) -> dict[str, int]:
        pid = 100 + len(self.guest.processes) + len(self.guest.ended)
        if arg[2:3] == ["thaw"] and arg[1].startswith("kill"):
            self.guest.processes.pop(int(arg[3]), None)
            self.guest.ended[int(arg[3])] = ""
        if arg[2:3] == ["thaw"] and not arg[1].startswith("kill"):
            self.guest.processes[pid] = arg
            self.host.sleepers.append((self.host.clock() + int(arg[3]), self.guest, pid))
        else:
            if arg[2:3] == ["address"]:
                address, _, prefix = arg[5].partition("/")
                self.guest.addresses = [(address, int(prefix))]
            self.guest.ended[pid] = self.host.tcp if "proc/net" in arg[1] else ""
        return {"pid": pid}

    def guest_exec_status(self, pid: int) -> dict[str, Any]:
        import base64

        if pid in self.guest.processes:
            return {"exited": False}
        if pid not in self.guest.ended:
            raise FakeError("VIR_ERR_INTERNAL_ERROR", "PID does not exist")
        return {"exited": True, "exitcode": 0, "out-data": base64.b64encode(self.guest.ended[pid].encode()).decode()}

    def guest_shutdown(self, mode: str) -> dict[str, Any]:
        if self.guest.shuts_down:
            self.off()
        return {}

    def guest_network_get_interfaces(self) -> list[dict[str, Any]]:
        cards = ET.fromstring(self.current).findall("devices/interface/mac")
        return [
            {
                "name": f"eth{number}",
                "hardware-address": card.get("address"),
                "ip-addresses": [
                    {"ip-address": a, "prefix": p} for a, p in (self.guest.addresses if number == 0 else [])
                ],
            }
            for number, card in enumerate(cards)
        ]


class Secret:
    """virSecret."""

    def __init__(self, host: FakeHost, xml: str) -> None:
        self.host, self.xml, self.value = host, xml, b""
        usage = ET.fromstring(xml).find("usage")
        assert usage is not None
        self.kind, self.usage = usage.get("type"), (usage.findtext("name") or usage.findtext("target") or "")

    def usageType(self) -> int:  # noqa: N802
        return CODES["VIR_SECRET_USAGE_TYPE_TLS" if self.kind == "tls" else "VIR_SECRET_USAGE_TYPE_ISCSI"]

    def usageID(self) -> str:  # noqa: N802
        return self.usage

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        self.host.answer()
        self._there()
        return self.xml

    def setValue(self, value: bytes, _flags: int) -> None:  # noqa: N802
        self.value = value

    def undefine(self) -> None:
        self._there()
        del self.host.secrets[self.kind, self.usage]

    def _there(self) -> None:
        if self.host.secrets.get((self.kind, self.usage)) is not self:
            raise FakeError("VIR_ERR_NO_SECRET", "Secret not found")


class FakeHost:
    """The host, and a connection to it. `lost`: iSCSI names that it cannot log in to; `silent`: it answers nobody any more; `sizes`: of disks, by
    target; `gone`: domains that were removed since they were listed."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = clock
        self.domains: dict[str, Domain] = {}
        self.secrets: dict[tuple[str | None, str], Secret] = {}
        self.networks: list[str] = []
        self.lost: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.gone: set[str] = set()
        self.silent = False
        self.kvm = False
        self.opened: list[str] = []
        self.refuses: FakeError | None = None
        self.undefined: list[tuple[str, int]] = []
        self.passwords: list[tuple[str, bytes]] = []
        self.sleepers: list[tuple[float, FakeGuest, int]] = []
        self.tcp = ""
        self.new_guest: Callable[[], FakeGuest] = FakeGuest
        self.before_secret: Callable[[], None] = lambda: None
        self.lock = threading.RLock()
        self._runs = 0

    def answer(self) -> None:
        if self.silent:
            raise FakeError("VIR_ERR_RPC", "internal error: client socket is closed")

    def tick(self) -> None:
        """The clock has moved: sleepers in guests that are due thaw them."""
        for due, guest, pid in list(self.sleepers):
            if self.clock() >= due and pid in guest.processes:
                guest.kernel_thaws()

    def started(self, domain: Domain) -> None:
        self._runs += 1
        domain.live, domain.number = domain.config, self._runs
        domain.status = (CODES["VIR_DOMAIN_RUNNING"], 1)
        self.passwords += [(s.usage, s.value) for s in self.secrets.values() if s.kind == "iscsi"]

    # -- virConnect

    def open(self, uri: str) -> FakeHost:
        self.opened.append(uri)
        if self.refuses is not None:
            raise self.refuses
        self.answer()
        return self

    def close(self) -> None:
        pass

    def isAlive(self) -> int:  # noqa: N802
        return int(not self.silent)

    def setKeepAlive(self, _interval: int, _count: int) -> None:  # noqa: N802
        pass

    def getLibVersion(self) -> int:  # noqa: N802
        self.answer()
        return 9_000_000

    def getInfo(self) -> list[Any]:  # noqa: N802
        return ["x86_64", 16384, 8, 2000, 1, 1, 8, 1]

    def getCapabilities(self) -> str:  # noqa: N802
        kinds = "<domain type='qemu'/>" + ("<domain type='kvm'/>" if self.kvm else "")
        return (
            "<capabilities><host><uuid>7E919179-6809-4DB6-BD53-A3CB96746802</uuid><cpu><arch>x86_64</arch></cpu></host>"
            "<guest><os_type>hvm</os_type><arch name='i686'><domain type='qemu'/></arch></guest>"
            f"<guest><os_type>hvm</os_type><arch name='x86_64'>{kinds}</arch></guest></capabilities>"
        )

    def getDomainCapabilities(self, *_words: object) -> str:  # noqa: N802
        return (
            "<domainCapabilities><cpu><mode name='custom'><model usable='no'>Westmere</model><model usable='yes'>Nehalem</model>"
            "</mode></cpu></domainCapabilities>"
        )

    def listAllDomains(self, flags: int) -> list[Domain]:  # noqa: N802
        self.answer()
        return [d for d in list(self.domains.values()) if not flags or d.live is not None]

    def lookupByName(self, name: str) -> Domain:  # noqa: N802
        self.answer()
        if name not in self.domains:
            raise FakeError("VIR_ERR_NO_DOMAIN", f"Domain not found: no domain with matching name '{name}'")
        return self.domains[name]

    def defineXMLFlags(self, xml: str, _flags: int) -> Domain:  # noqa: N802
        self.answer()
        made = Domain(self, xml)
        for other in self.domains.values():
            if other.UUIDString() == made.UUIDString() and other.name() != made.name():
                raise FakeError(
                    "VIR_ERR_OPERATION_FAILED",
                    f"operation failed: domain '{other.name()}' already exists with uuid {made.UUIDString()}",
                )
        there = self.domains.setdefault(made.name(), made)
        there.config = xml
        return there

    def listAllNetworks(self, _flags: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(name=lambda name=name: name) for name in self.networks]

    def listAllSecrets(self, _flags: int) -> list[Secret]:  # noqa: N802
        self.answer()
        return list(self.secrets.values())

    def secretDefineXML(self, xml: str, _flags: int) -> Secret:  # noqa: N802
        self.answer()
        self.before_secret()
        with self.lock:
            secret = Secret(self, xml)
            there = self.secrets.get((secret.kind, secret.usage))
            if there is not None and ET.fromstring(there.xml).findtext("uuid") != ET.fromstring(xml).findtext("uuid"):
                raise FakeError("VIR_ERR_INTERNAL_ERROR", "internal error: a secret with UUID already defined for use")
            self.secrets[secret.kind, secret.usage] = secret
            return secret


def modules(host: FakeHost) -> Callable[[str], Modules]:
    """What the driver loads in the place of libvirt-python."""
    libvirt = SimpleNamespace(libvirtError=FakeError, open=host.open, **CODES)
    qemu = SimpleNamespace(
        qemuAgentCommand=lambda domain, text, seconds, flags: domain.agent_command(text, seconds, flags)
    )
    return lambda _where: Modules(libvirt, qemu)


def _with_metadata(xml: str, text: str, key: str, uri: str) -> str:
    root = ET.fromstring(xml)
    place = root.find("metadata")
    assert place is not None
    assert (key, uri) == ("dr", NAMESPACE)
    for old in place.findall(f"{{{uri}}}vm"):
        place.remove(old)
    new = ET.fromstring(text)
    new.tag = f"{{{uri}}}vm"
    place.append(new)
    return ET.tostring(root, encoding="unicode")

"""One look at a guest's health: a TCP port as the host reaches it, or the guest agent; and its addresses on the way."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

from dr_provider.hypervisors.base import ProbeReport
from dr_provider.hypervisors.libvirt import network
from dr_provider.hypervisors.libvirt.agent import Agent, AgentRefused, AgentSilent
from dr_provider.hypervisors.libvirt.link import Link, Work
from dr_provider.hypervisors.libvirt.running import Running
from dr_provider.hypervisors.libvirt.ssh import is_local, over_ssh
from dr_provider.model.errors import DeviceFault
from dr_provider.model.topology import HealthSpec

__all__ = ["Health"]

_CONNECT = 2
# $1 address, $2 port. bash opens the connection itself; where there is none, netcat does. The exit status says whether it is open.
_TRY = """if command -v bash >/dev/null; then exec timeout "$3" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null
else exec nc -z -w "$3" "$1" "$2" 2>/dev/null; fi"""


@dataclass
class Health:
    """`_settled`: (uuid, number of the run) of guests whose addresses are as wanted; another start is another number."""

    link: Link
    _settled: set[tuple[str, int]] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """The longest that a look may take: addresses are set by a few commands in the guest."""
        return 3 * self.link.timeout

    def look(self, work: Work, at: Running, health: HealthSpec) -> ProbeReport:
        """Raises Unreachable where the host is silent."""
        if health.tcp is not None and not at.note.definition.nics:
            return ProbeReport(False, f"no network card to probe port {health.tcp} through")
        agent = Agent(work, at.domain)
        try:
            self._addresses(agent, at)
            if health.tcp is None:
                agent.ask("guest-ping")
        except AgentSilent as error:
            if health.tcp is None:
                return ProbeReport(False, str(error))
        except DeviceFault as error:
            return ProbeReport(False, str(error))
        return ProbeReport(True, "answers") if health.tcp is None else self._tcp(agent, at, health.tcp)

    def _addresses(self, agent: Agent, at: Running) -> None:
        run = (at.note.definition.uuid, int(at.domain.ID()))
        if run in self._settled:
            return
        network.set_addresses(agent, at.note.definition)
        self._settled.add(run)

    def _tcp(self, agent: Agent, at: Running, port: int) -> ProbeReport:
        uri, definition = self.link.uri, at.note.definition
        from_host = is_local(uri) or over_ssh(uri)
        address = next((nic.address.partition("/")[0] for nic in definition.nics if nic.address), None)
        try:
            if not from_host:
                well = network.listens(agent, port)
                return ProbeReport(well, "answers" if well else f"nothing in its guest listens on port {port}")
            address = address or network.address_of(agent, definition)
        except (AgentSilent, AgentRefused) as error:
            return ProbeReport(False, f"port {port} cannot be looked at: {error}")
        if address is None:
            return ProbeReport(False, f"its guest has no address yet to reach port {port} at")
        well = _open(address, port) if is_local(uri) else self._open_there(address, port)
        return ProbeReport(well, "answers" if well else f"port {port} of {address} gives no answer")

    def _open_there(self, address: str, port: int) -> bool:
        """From the host's side of the network. Raises Unreachable where ssh itself fails."""
        words = ["sh", "-c", _TRY, "probe", address, str(port), str(_CONNECT)]
        return self.link.ssh.run(words, self.link.where).returncode == 0


def _open(address: str, port: int) -> bool:
    until = time.monotonic() + _CONNECT
    try:
        with socket.create_connection((address, port), timeout=max(0.1, until - time.monotonic())):
            return True
    except OSError:
        return False

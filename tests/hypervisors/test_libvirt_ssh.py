"""The way to a host: the ssh that libvirt runs, and what its failures mean."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dr_provider.hypervisors.libvirt import LibvirtHost, failures
from dr_provider.hypervisors.libvirt.binding import Modules
from dr_provider.hypervisors.libvirt.link import Link
from dr_provider.hypervisors.libvirt.ssh import Ssh, is_local, over_ssh, through
from dr_provider.hypervisors.registry import open_host
from dr_provider.model.errors import BadInput, DrError, NotReady, Unreachable
from dr_provider.model.topology import HostSpec
from tests.hypervisors.fake_libvirt import CODES, FakeError, FakeHost, modules

LIBVIRT = SimpleNamespace(**CODES)


def test_the_program_is_ours_alone_and_passes_words_on_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor word; do echo "[$word]"; done\n')
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    ssh = Ssh("qemu+ssh://h/system", {"identity": "/k e/id", "knownHosts": "/k e/known", "config": "/c;x"}, 10)
    program = ssh.program()
    assert program.stat().st_mode & 0o777 == 0o700
    assert program.parent.stat().st_mode & 0o777 == 0o700
    said = subprocess.run([str(program), "-T", "h", "a b; c"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert said[:4] == ["[-F]", "[/c;x]", "[-i]", "[/k e/id]"]
    assert '[UserKnownHostsFile="/k e/known"]' in said
    assert "[StrictHostKeyChecking=yes]" in said
    assert "[BatchMode=yes]" in said
    assert "[ConnectTimeout=5]" in said
    assert said[-4:-1] == ["[-T]", "[h]", "[a b; c]"]
    folder = program.parent
    del ssh
    assert not folder.exists()


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("qemu+ssh://h/system", "qemu+ssh://h/system?command=/t/ssh%20x"),
        ("qemu+ssh://u@h:2222/system?no_tty=1", "qemu+ssh://u@h:2222/system?no_tty=1&command=/t/ssh%20x"),
        ("qemu+ssh://h/system?command=/own", "qemu+ssh://h/system?command=/own"),
    ],
)
def test_libvirt_is_told_of_the_program_in_the_uri(uri: str, wanted: str) -> None:
    assert through(uri, Path("/t/ssh x")) == wanted


def test_what_kind_of_way_a_uri_is() -> None:
    assert over_ssh("qemu+ssh://h/system")
    assert not over_ssh("qemu+tcp://h/system")
    assert is_local("qemu:///system")
    assert not is_local("qemu+tls://h/system")


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, timeout: float = 5.0) -> Any:
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Ssh("qemu+ssh://root@h:2222/system", {}, timeout).run(["sh", "-c", "echo $0", "a b'c"], "host east-1")


def test_a_command_reaches_the_host_word_by_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ssh gives the host one string, which a shell there reads.
    done = _run(tmp_path, monkeypatch, 'for last; do :; done; exec sh -c "$last"')
    assert done.stdout == "a b'c\n"


def test_a_command_that_ssh_cannot_bring_there_is_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match=r"host east-1 .* connect to host h port 2222: No route"):
        _run(tmp_path, monkeypatch, 'echo "ssh: connect to host h port 2222: No route to host" >&2; exit 255')
    with pytest.raises(Unreachable, match=r"over ssh within 0\.2 s"):
        _run(tmp_path, monkeypatch, "exec sleep 60", timeout=0.2)


@pytest.mark.parametrize(
    ("number", "said", "kind", "sentence"),
    [
        # As libvirt 9.0 with OpenSSH 9.2 says it.
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: ssh: connect to host 10.0.0.9 port 22: No route to host: Connection reset by peer", Unreachable, "no connection"),
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: ssh: connect to host 10.0.0.9 port 22: Connection timed out: Connection reset by peer", Unreachable, "no connection"),
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: ssh: connect to host 10.0.0.9 port 22: Connection refused: Connection reset by peer", Unreachable, "no connection"),
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: root@10.0.0.9: Permission denied (publickey).: Connection reset by peer", NotReady, "the key is not accepted"),
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: No ED25519 host key is known for h and you have requested strict checking. Host key verification failed.: Connection reset by peer", NotReady, "host key is not known"),
        ("VIR_ERR_SYSTEM_ERROR", "Cannot recv data: @ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ Host key verification failed.: Connection reset by peer", NotReady, "is not the one that is known"),
        ("VIR_ERR_SYSTEM_ERROR", "End of file while reading data: virt-ssh-helper: cannot connect to '/run/libvirt/libvirt-sock': Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused: Input/output error", Unreachable, "start libvirtd"),
        ("VIR_ERR_SYSTEM_ERROR", "Failed to connect socket to '/var/run/libvirt/virtqemud-sock': No such file or directory", Unreachable, "start libvirtd"),
        ("VIR_ERR_AUTH_UNAVAILABLE", "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'", NotReady, "libvirt refused this account"),
        ("VIR_ERR_AUTH_FAILED", "Authentifizierung gescheitert", NotReady, "libvirt refused this account"),
        ("VIR_ERR_NO_CONNECT", "no connection driver available for foo:///system", BadInput, "correct it in the topology"),
        ("VIR_ERR_RPC", "something that nobody has seen yet", Unreachable, "gave no answer"),
    ],
)  # fmt: skip
def test_each_failure_to_connect_has_its_sentence(number: str, said: str, kind: type[DrError], sentence: str) -> None:
    found = failures.connecting(LIBVIRT, FakeError(number, said), "host east-1")
    assert type(found) is kind
    assert sentence in str(found)
    assert str(found).startswith("host east-1")


# -- deadlines -----------------------------------------------------------------------------------


def _link(libvirt: FakeHost, timeout: float) -> Link:
    return Link("qemu+tcp://h/system", {}, where="host east-1", timeout=timeout, load=modules(libvirt))


def test_a_call_that_hangs_ends_and_the_connection_is_made_anew() -> None:
    libvirt, hang = FakeHost(), threading.Event()
    link = _link(libvirt, 0.2)
    changed = list[str]()

    def late(work: Any) -> None:
        hang.wait(10)
        work.go_on()
        changed.append("too late")

    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"host east-1 gave no answer within 0\.2 s"):
        link.call(late, wanted="hang")
    assert time.monotonic() - began < 2
    assert link.call(lambda w: w.conn.getLibVersion(), wanted="answer") == 9_000_000
    assert len(libvirt.opened) == 2
    hang.set()
    # Whatever was left behind changes nothing more.
    assert link.call(lambda w: w.conn.getLibVersion(), wanted="answer") == 9_000_000
    assert changed == []


def test_an_opening_that_hangs_ends_for_all_who_wait() -> None:
    hang = threading.Event()

    class Hanging(FakeHost):
        def open(self, uri: str) -> FakeHost:
            hang.wait(10)
            return super().open(uri)

    link = _link(Hanging(), 0.2)
    for _ in range(2):
        with pytest.raises(Unreachable, match=r"within 0\.2 s"):
            link.call(lambda w: None, wanted="answer")
    hang.set()


def test_a_connection_that_died_while_idle_is_not_silence() -> None:
    libvirt = FakeHost()
    link = _link(libvirt, 1.0)
    link.call(lambda w: None, wanted="answer")
    libvirt.silent = True
    with pytest.raises(Unreachable):
        link.call(lambda w: w.conn.getLibVersion(), wanted="answer")
    libvirt.silent = False
    assert link.call(lambda w: w.conn.getLibVersion(), wanted="answer") == 9_000_000


def test_a_refusal_in_a_call_is_not_silence() -> None:
    def refuse(_work: Any) -> None:
        raise FakeError("VIR_ERR_ACCESS_DENIED", "access denied: 'domain' denied access")

    with pytest.raises(NotReady, match="does not let this account define VM db"):
        _link(FakeHost(), 1.0).call(refuse, wanted="define VM db")


def test_without_libvirt_python_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Modules:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("dr_provider.hypervisors.libvirt.binding.importlib.import_module", missing)
    spec = HostSpec("east-1", "east", "libvirt", options={"uri": "qemu+ssh://h/system"})
    host = open_host(spec, connect=lambda _target, _site: None, timeout=1.0)  # type: ignore[arg-type,return-value]
    assert isinstance(host, LibvirtHost)
    with pytest.raises(BadInput, match="host east-1: its driver needs the Python package libvirt-python"):
        host.state()


def test_a_host_without_a_uri_is_refused() -> None:
    with pytest.raises(BadInput, match="its libvirt URI is missing"):
        LibvirtHost(HostSpec("east-1", "east", "libvirt"), timeout=1.0)

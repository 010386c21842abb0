"""The `ssh` that the runbook gives to people."""

from __future__ import annotations

import shlex

import pytest

from dr_provider.model.byhand import ssh_line


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        (None, []),
        ({}, []),
        ({"identity": "/keys/a b", "knownHosts": "known"}, ["-i", "/keys/a b", "-o", "UserKnownHostsFile=known"]),
        # OpenSSH reads several files from the value of this option, and tokens.
        ({"knownHosts": "/my keys/100%"}, ["-o", 'UserKnownHostsFile="/my keys/100%%"']),
        ({"config": "/etc/my ssh"}, ["-F", "/etc/my ssh"]),
    ],
)
def test_the_line_says_what_the_topology_says_of_the_keys(keys: object, options: list[str]) -> None:
    assert shlex.split(ssh_line("east-a", "dr", 2222, keys)) == ["ssh", *options, "-p", "2222", "dr@east-a"]
    assert shlex.split(ssh_line("east-a", None, None, keys)) == ["ssh", *options, "east-a"]

"""Whatever a definition is called: the domain's XML is XML, and holds it as text and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dr_provider.hypervisors.libvirt.domain import render
from dr_provider.hypervisors.libvirt.metadata import NAMESPACE
from dr_provider.model import codec
from dr_provider.model.vm import NicDefinition, VmDefinition
from tests.hypervisors.libvirt_fake_bench import vm as made
from tests.hypervisors.test_libvirt_domain import FACTS, disk

# What XML 1.0 can hold at all (https://www.w3.org/TR/xml/#charsets); the rest is refused before.
TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=40
)
EVIL = st.sampled_from(
    ["</name><name>x", "]]>", "<!--", "&amp;&lt;", "'\"><devices/>", "{{ 7*7 }}", "{% raw %}", "../../etc/x"]
)
WORDS = TEXT | EVIL


@given(name=WORDS, vm=WORDS, bridge=WORDS, cmdline=WORDS)
def test_names_stay_text(name: str, vm: str, bridge: str, cmdline: str) -> None:
    nic = NicDefinition(bridge, "02:00:00:00:00:01")
    definition = replace(made(), name=name, vm=vm, disks=(disk(),), nics=(nic,))
    boot = {"kernel": "/k", "initrd": "", "cmdline": cmdline}
    domain = ET.fromstring(render(definition, FACTS, {"boot": boot}, (), log=False).xml)
    plain = ET.fromstring(
        render(
            replace(made(), disks=(disk(),), nics=(nic,)), FACTS, {"boot": {**boot, "cmdline": "x"}}, (), log=False
        ).xml
    )
    shape = [element.tag for element in domain.iter() if element.tag != "cmdline"]
    assert shape == [element.tag for element in plain.iter() if element.tag != "cmdline"]
    assert (domain.findtext("name") or "") == name
    assert domain.find("devices/interface/source").attrib == {"bridge": bridge}  # type: ignore[union-attr]
    assert (domain.findtext("os/cmdline") or "") == cmdline
    note = domain.find(f"metadata/{{{NAMESPACE}}}vm")
    assert note is not None
    assert codec.load(VmDefinition, note.text or "", "the note") == definition

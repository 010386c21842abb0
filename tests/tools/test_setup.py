"""The set-up: what is done once, what is taken up again, and what is said when something is missing."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tools.setup import engine, engine_sources, main, python_env
from tools.setup.console import Gone, SetupError, run
from tools.setup.layout import Layout
from tools.setup.stamps import Stamp, content_key, exclusive

ROOT = Path(__file__).resolve().parents[2]


def make_layout(tmp_path: Path) -> Layout:
    root = tmp_path / "checkout"
    for name in ("tools/engine", "tools/language-host"):
        (root / name).mkdir(parents=True)
        shutil.copy(ROOT / name / "go.mod", root / name)
    shutil.copy(ROOT / "requirements.txt", root)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return Layout(root, tmp_path / "cache")


def make_engine(folder: Path, version: str, parts: tuple[str, ...] = engine.PARTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (folder / part).write_text(f"#!/bin/sh\necho v{version}\n")
        (folder / part).chmod(0o755)
    return folder


def ends(pid: int, within: float = 5.0) -> bool:
    """Whether a process that is not our child ends in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return make_layout(tmp_path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "install_from_vendor", lambda _layout: "the network is silent")


class TestStamps:
    def test_key_follows_content_and_tells_missing_from_empty(self, tmp_path: Path) -> None:
        file = tmp_path / "f"
        missing = content_key(file)
        file.write_text("")
        empty = content_key(file)
        file.write_text("a")
        assert len({missing, empty, content_key(file)}) == 3
        assert content_key("ab", "c") != content_key("a", "bc")

    def test_an_interrupted_step_is_known(self, tmp_path: Path) -> None:
        stamp = Stamp(tmp_path / "stamps", "packages")
        assert stamp.begin() is False
        assert stamp.begin() is True
        stamp.complete("key")
        assert stamp.holds("key")
        assert not stamp.holds("other")
        assert stamp.begin() is False
        assert not stamp.holds("key")

    def test_two_processes_take_turns(self, tmp_path: Path) -> None:
        turn = (
            "import sys, time; from pathlib import Path; from tools.setup.stamps import exclusive\n"
            "with exclusive(Path(sys.argv[1]), 'x'):\n"
            "    print('in', flush=True); time.sleep(0.3); print('out', flush=True)\n"
        )
        log = tmp_path / "log"
        with log.open("wb") as out:
            both = [
                subprocess.Popen([sys.executable, "-c", turn, str(tmp_path / "lock")], cwd=ROOT, stdout=out)
                for _ in range(2)
            ]
            assert [each.wait(20) for each in both] == [0, 0]
        assert log.read_text().split() == ["in", "out", "in", "out"]

    def test_a_killed_holder_frees_the_lock(self, tmp_path: Path) -> None:
        hold = (
            "import sys, time; from pathlib import Path; from tools.setup.stamps import exclusive\n"
            "with exclusive(Path(sys.argv[1]), 'x'):\n"
            "    print('in', flush=True); time.sleep(60)\n"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, str(tmp_path / "lock")], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        assert (tmp_path / "lock").read_text().strip() == str(holder.pid)
        holder.kill()
        holder.wait()
        with exclusive(tmp_path / "lock", "x"):
            pass

    def test_a_killed_holder_s_command_still_holds_it(self, tmp_path: Path) -> None:
        hold = (
            "import sys; from pathlib import Path; from tools.setup.console import run\n"
            "from tools.setup.stamps import exclusive\n"
            "folder = Path(sys.argv[1])\n"
            "with exclusive(folder / 'lock', 'x'):\n"
            "    run(['/bin/sh', '-c', 'echo > begun; sleep 2; echo > done'], label='x', log=folder / 'log', cwd=folder)\n"
        )
        holder = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], cwd=ROOT)
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        holder.kill()
        holder.wait()
        with exclusive(tmp_path / "lock", "x"):
            assert (tmp_path / "done").exists()


class TestCommands:
    def test_silence_ends_a_command_and_all_it_started(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        script = f"sleep 60 & echo $! > {pid_file}; wait"
        with pytest.raises(Gone, match="nothing came for 0 s"):
            run(
                ["/bin/sh", "-c", script],
                label="installer",
                log=tmp_path / "log",
                cwd=tmp_path,
                alive=lambda: 1,
                silence=0.4,
            )
        assert ends(int(pid_file.read_text()))

    def test_progress_keeps_a_command_alive(self, tmp_path: Path) -> None:
        ticks = iter(range(10_000))
        run(
            ["/bin/sleep", "1"],
            label="x",
            log=tmp_path / "log",
            cwd=tmp_path,
            alive=lambda: next(ticks),
            silence=0.5,
        )

    def test_a_failure_shows_the_last_lines(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SetupError, match=r"x failed \(exit status 3\)"):
            run(["/bin/sh", "-c", "echo reason; exit 3"], label="x", log=tmp_path / "log", cwd=tmp_path)
        assert "reason" in capsys.readouterr().err


class TestEngineChoice:
    def test_one_on_path_that_is_whole_and_new_enough(self, layout: Layout, tmp_path: Path) -> None:
        make_engine(tmp_path / "path", "3.250.1")
        engine.set_up_engine(layout)
        assert (layout.bin / "pulumi").resolve() == tmp_path / "path" / "pulumi"
        assert all((layout.bin / part).exists() for part in engine.PARTS)

    def test_a_package_manager_links_pulumi_alone(self, layout: Layout, tmp_path: Path) -> None:
        whole = make_engine(tmp_path / "Cellar" / "bin", "3.250.1")
        (tmp_path / "path").mkdir()
        (tmp_path / "path" / "pulumi").symlink_to(whole / "pulumi")
        engine.set_up_engine(layout)
        assert (layout.bin / "pulumi-language-python-exec").resolve().parent == whole

    @pytest.mark.parametrize(
        ("version", "parts", "reason"),
        [
            ("3.199.9", engine.PARTS, "its version is 3.199.9, 3.200 or newer is needed"),
            ("3.250.0", ("pulumi",), "there is no pulumi-language-python beside it"),
            ("what", engine.PARTS, "it does not answer `pulumi version`"),
        ],
    )
    def test_one_that_will_not_do_is_passed_over_with_a_reason(
        self,
        layout: Layout,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        version: str,
        parts: tuple[str, ...],
        reason: str,
    ) -> None:
        make_engine(tmp_path / "path", version, parts)
        cached = make_engine(layout.cache / engine_sources.built_name(layout), "3.259.0")
        engine.set_up_engine(layout)
        assert (layout.bin / "pulumi").resolve().parent == cached
        assert reason in capsys.readouterr().err

    def test_our_own_link_is_not_a_system_engine(
        self, layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        make_engine(layout.cache / engine_sources.built_name(layout), "3.259.0")
        engine.set_up_engine(layout)
        other = make_layout(tmp_path / "second")
        other = Layout(other.root, layout.cache)
        monkeypatch.setenv("PATH", f"{layout.bin}{os.pathsep}{other.bin}{os.pathsep}{os.environ['PATH']}")
        assert engine._system_pulumi(layout) is None
        assert engine._system_pulumi(other) is None

    def test_once_is_enough_until_something_changes(self, layout: Layout, tmp_path: Path) -> None:
        cached = make_engine(layout.cache / engine_sources.built_name(layout), "3.259.0")
        engine.set_up_engine(layout)
        assert engine.engine_is_ready(layout)
        make_engine(tmp_path / "path", "3.300.0")
        assert not engine.engine_is_ready(layout)
        shutil.rmtree(tmp_path / "path")
        assert engine.engine_is_ready(layout)
        shutil.rmtree(cached)
        assert not engine.engine_is_ready(layout)

    @pytest.mark.usefixtures("offline")
    def test_no_engine_and_no_go_is_one_sentence(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda *_args, **_kw: None)
        with pytest.raises(SetupError, match=r"no Pulumi engine on PATH.*no Go 1\.[0-9.]+ to build one"):
            engine.set_up_engine(layout)
        assert not engine.engine_is_ready(layout)

    @pytest.mark.usefixtures("offline")
    def test_an_old_go_is_one_sentence(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "path").mkdir()
        go = tmp_path / "path" / "go"
        go.write_text("#!/bin/sh\necho go1.20.3\necho local\n")
        go.chmod(0o755)
        with pytest.raises(SetupError, match=r"needs Go 1\.[0-9.]+ or newer, this is 1\.20\.3"):
            engine.set_up_engine(layout)

    @pytest.mark.usefixtures("offline")
    def test_a_failed_build_leaves_nothing_behind(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "path").mkdir()
        go = tmp_path / "path" / "go"
        go.write_text('#!/bin/sh\nif [ "$1" = env ]; then echo go9.9; echo local; else exit 1; fi\n')
        go.chmod(0o755)
        with pytest.raises(SetupError, match="building the language host failed"):
            engine.set_up_engine(layout)
        assert [path.name for path in layout.cache.iterdir()] == ["lock"]


class TestPythonEnvironment:
    def test_no_ensurepip_is_one_sentence(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
        with pytest.raises(SetupError, match="has no module venv and no module ensurepip: install"):
            python_env.set_up_python(layout)

    def test_only_what_changed_is_done_again(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        commands: list[str] = []

        def record(argv: list[str], **_kw: object) -> None:
            commands.append(" ".join(argv[2:]))

        monkeypatch.setattr(python_env, "run", record)
        for step, key in python_env._keys(layout).items():
            Stamp(layout.stamps, step).complete(key)
        assert python_env.python_is_ready(layout)
        python_env.set_up_python(layout)
        assert commands == []
        with (layout.root / "requirements.txt").open("a") as requirements:
            requirements.write("# newer\n")
        python_env.set_up_python(layout)
        assert len(commands) == 2
        assert "--require-hashes" in commands[0]
        assert "--force-reinstall" not in commands[0]
        assert commands[1].endswith("-e .")

    def test_an_interrupted_installation_is_made_whole(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        Stamp(layout.stamps, "venv").complete(python_env._keys(layout)["venv"])
        commands: list[list[str]] = []

        def fail_first(argv: list[str], **_kw: object) -> None:
            commands.append(argv)
            if len(commands) == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(python_env, "run", fail_first)
        with pytest.raises(KeyboardInterrupt):
            python_env.set_up_python(layout)
        python_env.set_up_python(layout)
        assert "--force-reinstall" not in commands[0]
        assert "--force-reinstall" in commands[1]
        assert python_env.python_is_ready(layout)


def test_an_old_python_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 1, "final", 0))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools" / "setup" / "__main__.py"), run_name="__main__")
    assert str(ended.value).startswith("Python 3.11 or newer is needed, this is 3.8: ")


def test_usage_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2
    assert "usage" in capsys.readouterr().err


class TestPinned:
    def test_every_requirement_has_a_hash_and_none_an_address(self) -> None:
        text = (ROOT / "requirements.txt").read_text()
        assert "://" not in text
        pinned = re.findall(r"^[a-z0-9][^\s]*==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 20

    def test_what_the_project_needs_is_pinned(self) -> None:
        project = (ROOT / "pyproject.toml").read_text()
        block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
        assert block is not None
        pinned = (ROOT / "requirements.txt").read_text()
        for name in re.findall(r'"([a-zA-Z0-9.-]+)', block[1]):
            assert f"\n{name.replace('.', '-')}==" in f"\n{pinned}"

    @pytest.mark.parametrize("name", ["engine", "language-host"])
    def test_wrapper_modules_are_whole(self, name: str) -> None:
        folder = ROOT / "tools" / name
        assert engine_sources._required(folder / "go.mod", engine_sources.SDK_MODULE)
        assert (folder / "go.sum").stat().st_size > 10_000


class TestWithin:
    def test_a_slow_run_is_ended_with_all_it_started(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        script = f"sleep 60 & echo $! > {pid_file}; wait"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tools.within", "0.5", "/bin/sh", "-c", script], cwd=ROOT, check=False
        )
        assert done.returncode == 124
        assert time.monotonic() - began < 10
        assert ends(int(pid_file.read_text()))

    @pytest.mark.parametrize("status", [0, 5])
    def test_the_status_is_the_command_s(self, status: int) -> None:
        argv = [sys.executable, "-m", "tools.within", "20", "/bin/sh", "-c", f"exit {status}"]
        assert subprocess.run(argv, cwd=ROOT, check=False).returncode == status

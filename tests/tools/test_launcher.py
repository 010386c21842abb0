"""The wide launcher: what it changes about Pulumi's dynamic provider, seen from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "plugins" / "pulumi-resource-pulumi-python"

PROGRAM = """
import os
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Probe(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props):
        import sys
        import time
        from dr_provider.model import stopping

        if props["act"] == "fail":
            raise RuntimeError("array east-a is silent: heal it, then run again")
        if props["act"] == "move":
            with stopping.busy(), open(props["log"], "a") as log:
                for action in range(300):
                    if stopping.requested() is not None:
                        print("stopped:", stopping.requested(), file=log, flush=True)
                        raise RuntimeError(f"stopped: {stopping.requested()}")
                    print(os.getpid(), file=log, flush=True)
                    time.sleep(0.1)
        with open(props["log"] + ".spans", "a") as spans:
            print(time.monotonic(), 1, file=spans, flush=True)
            time.sleep(1)
            print(time.monotonic(), -1, file=spans, flush=True)
        return CreateResult("id", {**props, "python": sys.executable})


class ProbeResource(Resource):
    def __init__(self, name, act):
        super().__init__(Probe(), name, {"act": act, "log": os.environ["PROBE_LOG"], "python": None})


for number in range(int(os.environ.get("PROBE_COUNT", "1"))):
    probe = ProbeResource(f"probe-{number}", os.environ.get("PROBE_ACT", "wait"))
pulumi.export("python", probe.python)
"""


def until(condition: Callable[[], bool], within: float = 30.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def read(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


class Project:
    """A project like ours, in a folder of its own, with a state and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        settings = (ROOT / "Pulumi.yaml").read_text()
        settings = settings.replace("./plugins", str(ROOT / "plugins")).replace(".venv", str(ROOT / ".venv"))
        (folder / "Pulumi.yaml").write_text(settings)
        for name in ("stacks", "state", "home"):
            (folder / name).mkdir()
        (folder / "stacks" / "__main__.py").write_text(PROGRAM)
        self.env = os.environ | {
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PROBE_LOG": str(self.log),
        }
        self.pulumi("stack", "init", "prod")
        self.pulumi("config", "set", "dr:topology", "topology/shop.yaml")

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(ROOT / ".venv" / "bin" / "pulumi"), *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        process = self.start(*arguments, **env)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def pulumi(self, *arguments: str, **env: str) -> str:
        status, said = self.run(*arguments, **env)
        assert status == 0, said
        return said


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def launched() -> Iterator[tuple[psutil.Process, int, psutil.Process]]:
    """A launcher, its port, and a shell in the engine's place."""
    engine = subprocess.Popen(
        ["/bin/sh", "-c", '"$0" 127.0.0.1:1 & echo $! >&2; wait', str(LAUNCHER)],
        env=os.environ | {"PULUMI_PYTHON_CMD": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    assert engine.stderr is not None
    provider = psutil.Process(int(engine.stderr.readline()))
    port = int(engine.stdout.readline())
    yield provider, port, psutil.Process(engine.pid)
    for process in (engine, provider):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    engine.communicate()


Launched = tuple[psutil.Process, int, psutil.Process]


def test_it_ends_when_its_parent_is_killed(launched: Launched) -> None:
    provider, _, engine = launched
    assert provider.ppid() == engine.pid
    engine.kill()
    assert until(lambda: gone(provider.pid), 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_one_ends_at_the_first_signal(launched: Launched, number: signal.Signals) -> None:
    provider, _, _ = launched
    provider.send_signal(number)
    assert until(lambda: gone(provider.pid), 5)


def test_it_answers_a_cancel_and_stays(launched: Launched) -> None:
    provider, port, _ = launched
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        assert stub.GetPluginInfo(empty_pb2.Empty(), timeout=10).version
        stub.Cancel(empty_pb2.Empty(), timeout=10)
    assert not gone(provider.pid)


def test_it_names_the_python_that_is_missing() -> None:
    done = subprocess.run(
        [str(LAUNCHER)],
        env=os.environ | {"PULUMI_PYTHON_CMD": "/nowhere/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 127
    assert "/nowhere/python" in done.stderr


@pytest.mark.engine
def test_an_exception_is_one_sentence(project: Project) -> None:
    status, said = project.run("up", "--yes", "--skip-preview", PROBE_ACT="fail")
    assert status != 0
    assert "error: RuntimeError: array east-a is silent: heal it, then run again" in said
    assert "Traceback" not in said
    assert 'File "' not in said


@pytest.mark.engine
def test_forty_creates_of_a_second_run_side_by_side(project: Project) -> None:
    project.pulumi("up", "--yes", "--skip-preview", PROBE_COUNT="40")
    changes = sorted((float(at), int(step)) for at, step in map(str.split, read(Path(f"{project.log}.spans"))))
    abreast = list(accumulate(step for _, step in changes))
    assert abreast[-1] == 0
    # The engine's own plugin has four workers.
    assert max(abreast) > 4
    deployment = project.pulumi("stack", "export")
    assert deployment.count('"type": "pulumi-python:dynamic:Resource"') == 40


@pytest.mark.engine
@pytest.mark.parametrize("chosen", ["path", "command"])
def test_the_provider_runs_in_the_programs_python(project: Project, chosen: str) -> None:
    python = str(ROOT / ".venv" / "bin" / "python3")
    env = {"PULUMI_PYTHON_CMD": python} if chosen == "command" else {}
    project.pulumi("up", "--yes", "--skip-preview", **env)
    seen = project.pulumi("stack", "output", "python").strip()
    assert Path(seen).parent == ROOT / ".venv" / "bin"


@pytest.mark.engine
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_killed_engine_ends_the_move_at_its_next_action(project: Project, whole_group: bool) -> None:
    engine = project.start("up", "--yes", "--skip-preview", PROBE_ACT="move")
    assert until(lambda: len(read(project.log)) > 3)
    provider = int(read(project.log)[0])
    if whole_group:
        os.killpg(engine.pid, signal.SIGKILL)
    else:
        engine.kill()
    assert until(lambda: gone(provider), 10)
    assert read(project.log)[-1] == "stopped: the Pulumi engine is gone"
    assert len(read(project.log)) < 200
    engine.communicate()
    project.pulumi("cancel", "--yes", "--stack", "prod")
    project.pulumi("up", "--yes", "--skip-preview", PROBE_ACT="wait")


@pytest.mark.engine
def test_the_first_interrupt_ends_the_move_at_its_next_action(project: Project) -> None:
    engine = project.start("up", "--yes", "--skip-preview", PROBE_ACT="move")
    assert until(lambda: len(read(project.log)) > 3)
    engine.send_signal(signal.SIGINT)
    said, _ = engine.communicate(timeout=60)
    assert engine.returncode != 0
    assert read(project.log)[-1] == "stopped: the update was cancelled"
    assert "Traceback" not in said

"""The image, run by a real engine through the docker command line.

`make test-docker` runs this. It takes the engine that `docker` finds, and the image that $IMAGE names, or builds one.
Without an engine everything here is skipped, and says so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from wire import Dav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parent.parent.parent
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
USER = ("-e", "DAVSERVER_USERNAME=alice", "-e", "DAVSERVER_PASSWORD=wonder")
#: What debian:trixie-slim takes, in MB, and what the image may take with it.
BASE, WHOLE = 79, 150


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip() + done.stderr.strip()


@pytest.fixture(scope="module")
def image() -> str:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip(
            "NO DOCKER ENGINE: the image is not tested. Start one, or run tests/docker/engine (Debian, as root)."
        )
    named = os.environ.get("IMAGE")
    if named:
        return named
    docker("build", "-f", str(ROOT / "docker" / "Dockerfile"), "-t", "davserver:test", str(ROOT))
    return "davserver:test"


class Container:
    """One container of the image; its port is published on this machine."""

    def __init__(self, image: str, *options: str, command: tuple[str, ...] = ()) -> None:
        self.name = f"davserver-{uuid.uuid4().hex[:12]}"
        docker("run", "-d", "--name", self.name, "-p", "127.0.0.1::8080", *options, image, *command)

    def inspect(self, what: str) -> str:
        return docker("inspect", "-f", f"{{{{{what}}}}}", self.name)

    @property
    def logs(self) -> str:
        return docker("logs", self.name)

    def client(self, login: str = "alice:wonder") -> Dav:
        port = int(docker("port", self.name, "8080/tcp").splitlines()[0].rpartition(":")[2])
        dav = Dav("127.0.0.1", port, {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()})
        self.until(lambda: answers(dav))
        return dav

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.inspect(".State.Running") == "true", self.logs
            assert time.monotonic() < deadline, self.logs

    def wait(self) -> int:
        return int(docker("wait", self.name))

    def stop(self) -> int:
        docker("stop", "-t", "20", self.name)
        return int(self.inspect(".State.ExitCode"))


def answers(dav: Dav) -> bool:
    with suppress(OSError, EOFError):
        return dav("OPTIONS", "/").status == 200
    dav.close()
    return False


@pytest.fixture
def run(image: str) -> Iterator[Callable[..., Container]]:
    made: list[Container] = []

    def start(*options: str, command: tuple[str, ...] = ()) -> Container:
        made.append(Container(image, *options, command=command))
        return made[-1]

    yield start
    for container in made:
        docker("rm", "-f", "-v", container.name, check=False)


@pytest.fixture
def volume(image: str) -> Iterator[str]:
    name = docker("volume", "create", f"davserver-{uuid.uuid4().hex[:12]}")
    yield name
    docker("volume", "rm", "-f", name, check=False)


def test_what_it_is(image: str) -> None:
    (found,) = json.loads(docker("inspect", image))
    config = found["Config"]
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["python", "-m", "davserver.container"]  # no shell: signals reach the server
    assert set(config["Volumes"]) == {"/data", "/state"}
    assert config["Healthcheck"]["Test"] == ["CMD", "davserver", "health"]
    assert config["Labels"]["org.opencontainers.image.title"] == "davserver"
    layers = docker("history", "--human=false", "--format", "{{.Size}}\t{{.Comment}}", image).splitlines()
    own = [int(size) for size, _, comment in (line.partition("\t") for line in layers) if "buildkit" in comment]
    assert own
    assert sum(own) / 1e6 < WHOLE - BASE, layers
    tools = docker("run", "--rm", "--entrypoint", "sh", image, "-c", "command -v gcc cc pip curl || echo none")
    assert tools == "none"


def test_a_volume_for_each_and_a_user_from_the_environment(run: Callable[..., Container], volume: str) -> None:
    container = run(*USER, "-v", f"{volume}:/state")
    dav = container.client()
    assert dav("PUT", "/f", b"x").status == 201
    token = dav.lock("/f").token
    assert container.client("alice:wrong")("GET", "/f").status == 401
    container.until(lambda: container.inspect(".State.Health.Status") == "healthy")
    assert "WARNING: /state" not in container.logs
    assert container.stop() == 0
    docker("start", container.name)
    dav = container.client()
    assert dav("PUT", "/f", b"y").status == 423  # the lock is still there
    assert dav("PUT", "/f", b"y", If=f"(<{token}>)").status == 204
    assert token not in container.logs
    assert "wonder" not in container.logs


def test_without_a_user_one_is_made_up_once(run: Callable[..., Container], volume: str) -> None:
    container = run("-v", f"{volume}:/state")
    container.client()
    (line,) = [line for line in container.logs.splitlines() if "with the password " in line]
    login = "admin:" + line.rpartition(" ")[2]
    assert container.client(login)("PUT", "/f", b"x").status == 201
    assert container.client("admin:")("GET", "/f").status == 401
    container.stop()
    again = run("-v", f"{volume}:/state")
    assert again.client(login)("GET", "/").status == 200
    assert "with the password" not in again.logs


def test_a_password_from_a_file(run: Callable[..., Container], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    tmp_path.chmod(0o755)
    container = run(
        *("-e", "DAVSERVER_USERNAME=alice", "-e", "DAVSERVER_PASSWORD_FILE=/run/secrets/dav"),
        *("-v", f"{secret}:/run/secrets/dav:ro"),
    )
    assert container.client("alice:from a file")("PROPFIND", "/", Depth="0").status == 207


@pytest.mark.parametrize("user", ["1234:1234", "54321:0"])
def test_any_user_with_nothing_permitted(user: str, run: Callable[..., Container], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    uid, gid = map(int, user.split(":"))
    os.chown(data, uid, gid)
    container = run(*USER, *HARDENED, "--user", user, "-v", f"{data}:/data")
    assert container.client()("PUT", "/f", b"x").status == 201
    found = (data / "f").stat()
    assert (found.st_uid, found.st_gid) == (uid, gid)
    assert docker("exec", container.name, "davserver", "health") == "The server is ready."
    assert docker("exec", container.name, "davserver", "locks", "list") == "No locks."
    assert container.stop() == 0
    assert "Traceback" not in container.logs


def test_puid_pgid_and_umask(run: Callable[..., Container], tmp_path: Path, volume: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    options = ("-e", "PUID=2345", "-e", "PGID=3456", "-e", "UMASK=027", "-e", "TZ=Asia/Tokyo")
    container = run(*USER, *options, "--user", "0", "-v", f"{data}:/data", "-v", f"{volume}:/state")
    assert container.client()("PUT", "/f", b"x").status == 201
    found = (data / "f").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (2345, 3456, 0o640)
    processes = docker("top", container.name, "-eo", "pid,uid,gid").splitlines()[1:]
    assert {tuple(line.split()[1:]) for line in processes} == {("2345", "3456")}
    stamp = docker("exec", container.name, "date", "+%H")
    assert any(f" {stamp}:" in line for line in container.logs.splitlines())
    # Without root there is no becoming somebody else, and it says so.
    refused = run(*USER, "-e", "PUID=2345")
    assert refused.wait() == 1
    assert "start it with --user 2345:1000" in refused.logs
    refused = run(*USER, "-e", "PUID=2345", "--user", "0", "--cap-drop", "ALL")
    assert refused.wait() == 1
    assert "without the right to become uid 2345" in refused.logs


@pytest.mark.parametrize("place", ["/data", "/state"])
def test_a_folder_that_cannot_be_written_is_one_line(place: str, run: Callable[..., Container], tmp_path: Path) -> None:
    folder = tmp_path / "owned"
    folder.mkdir(mode=0o755)
    container = run(*USER, "--user", "1234:2345", "-v", f"{folder}:{place}")
    assert container.wait() == 1
    (line,) = [line for line in container.logs.splitlines() if "WARNING" not in line]
    assert line.startswith(f"davserver: uid 1234, gid 2345 cannot write {place} (Permission denied)")


def test_data_may_be_mounted_read_only(run: Callable[..., Container], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "f").write_text("x")
    container = run(*USER, "-v", f"{data}:/data:ro")
    dav = container.client()
    assert dav("GET", "/f").body == b"x"
    assert dav("PUT", "/f", b"y").status in (403, 507)
    assert "/data is mounted read-only" in container.logs


def test_a_state_that_goes_with_the_container_is_warned_of(run: Callable[..., Container]) -> None:
    container = run(*USER)
    container.client()
    assert "WARNING: /state is a volume without a name: locks and properties are lost" in container.logs
    container = run(*USER, "--user", "0", "--tmpfs", "/state")
    container.client()
    assert "WARNING: /state is kept in memory only" in container.logs


def test_a_configuration_file_ranks_above_what_the_image_presets(run: Callable[..., Container], tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir(mode=0o755)
    (config / "davserver.yaml").write_text("anonymous: ro\nprefix: /dav\nshares: {/docs: {directory: /data}}\n")
    container = run("-v", f"{config}:/config:ro")
    container.until(lambda: "is ready at" in container.logs)
    dav = container.client()
    assert dav("PROPFIND", "/dav/", Depth="1").hrefs() == ["/dav/", "/dav/docs/"]
    assert docker("exec", container.name, "davserver", "health") == "The server is ready."
    assert "with the password" not in container.logs


def test_sigterm_under_load_drains_and_ends_with_0(run: Callable[..., Container], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 1000, 1000)
    container = run(*USER, "-v", f"{data}:/data")
    stopping, wrong, done = threading.Event(), [], []

    def load(dav: Dav, number: int) -> None:
        written = 0
        while not stopping.is_set():
            try:
                answer = dav("PUT", f"/{number}-{written}", b"x" * 10_000)
            except (OSError, EOFError):
                return  # it listens no more
            except Exception as error:
                # A connection that is closed between two answers has broken no promise.
                if "RemoteDisconnected" not in type(error).__name__:
                    wrong.append(repr(error))
                return
            if answer.status == 201:
                done.append(f"{number}-{written}")
            else:
                wrong.append(str(answer.status))
            written += 1

    threads = [threading.Thread(target=load, args=(container.client(), number)) for number in range(4)]
    for thread in threads:
        thread.start()
    container.until(lambda: len(done) > 50)
    code = container.stop()
    stopping.set()
    for thread in threads:
        thread.join()
    assert code == 0
    assert wrong == []
    assert all((data / name).stat().st_size == 10_000 for name in done)


def test_other_commands_and_build_data(image: str) -> None:
    version = json.loads(docker("run", "--rm", image, "version", "--json"))
    assert version["python"].startswith("3.13")
    assert "read_only" in docker("run", "--rm", *USER, image, "check-config")
    assert docker("run", "--rm", "--read-only", image, "--help").startswith("usage: davserver")

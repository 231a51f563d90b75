"""Real clients log in: Basic, Digest, whichever they choose, and behind a proxy that does it for them."""

from __future__ import annotations

import getpass
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from realclients import PASSWORD, REALM, configure, digests, free_port, run, tool
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from serving import Process

from davserver.access.accounts import Algorithm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("logins")
    with Process(folder, "-c", str(configure(folder))) as running:
        yield running


@pytest.mark.parametrize("how", ["--basic", "--digest", "--anyauth"])
@pytest.mark.parametrize("name", ["alice", "Jürgen"])
def test_curl(how: str, name: str, server: Process, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(b"x" * 200_000)
    url = f"{server.url}{how[2:]} {len(name)}, a.txt".replace(" ", "%20")
    curl = (tool("curl"), "-sS", "-f", how, "-u", f"{name}:{PASSWORD}")
    assert run(*curl, "-T", str(source), url).returncode == 0
    assert run(*curl, "-o", str(back), url).returncode == 0
    assert back.read_bytes() == source.read_bytes()
    wrong = run(tool("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", how, "-u", f"{name}:wrong", url)
    assert wrong.stdout in ("401", "429")


def test_curl_takes_digest_where_it_may_choose(server: Process) -> None:
    shown = run(tool("curl"), "-s", "-v", "--anyauth", "-u", f"alice:{PASSWORD}", server.url).stderr
    assert "> Authorization: Digest" in shown
    assert "> Authorization: Basic" not in shown


@pytest.mark.parametrize("kind", [HTTPDigestAuth, HTTPBasicAuth])
def test_requests(kind: type[HTTPDigestAuth | HTTPBasicAuth], server: Process) -> None:
    with requests.Session() as session:
        session.auth = kind("alice", PASSWORD)
        url = f"{server.url}requests-{kind.__name__}"
        assert session.put(url, b"all").status_code in (201, 204)
        for _ in range(20):
            assert session.get(url).content == b"all"
        assert session.request("PROPFIND", server.url, headers={"Depth": "1"}).status_code == 207
        session.auth = kind("alice", "wrong")
        assert session.get(url).status_code == 401


def test_cadaver(server: Process, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f'machine 127.0.0.1 login alice password "{PASSWORD}"\n')
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / "f.txt").write_text("from cadaver")
    done = run(
        tool("cadaver"), server.url, stdin="put f.txt cadaver.txt\nlock cadaver.txt\nunlock cadaver.txt\nls\nquit\n",
        cwd=tmp_path, HOME=str(tmp_path), PATH="/usr/bin:/bin",
    )  # fmt: skip
    assert "succeeded" in done.stdout
    assert "cadaver.txt" in done.stdout
    assert "failed" not in done.stdout.lower(), done.stdout
    assert (server.root / "cadaver.txt").read_text() == "from cadaver"


def test_rclone(server: Process, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("from rclone")
    rclone = tool("rclone")
    hidden = run(rclone, "obscure", PASSWORD).stdout.strip()
    remote = f":webdav,url='{server.url}',vendor=other,user=alice,pass='{hidden}':"
    done = run(rclone, "--config", "/dev/null", "copyto", str(tmp_path / "f.txt"), f"{remote}rclone.txt")
    assert done.returncode == 0, done.stderr
    assert run(rclone, "--config", "/dev/null", "cat", f"{remote}rclone.txt").stdout == "from rclone"


def test_a_digest_session_over_two_workers_and_a_restart(tmp_path: Path) -> None:
    """One nonce and its counts, before and after: Finder cannot repeat what it streams."""
    server = Process(tmp_path, "-c", str(configure(tmp_path)), "--port", str(free_port()))
    try:
        sessions = [requests.Session() for _ in range(4)]
        auth = HTTPDigestAuth("alice", PASSWORD)
        auth.init_per_thread_state()
        for session in sessions:
            session.auth = auth  # one nonce for all connections, which go to both workers
        challenged = []

        def ask(method: str, session: requests.Session, path: str, **options: object) -> requests.Response:
            answer = session.request(method, f"{server.url}{path}", **options)  # type: ignore[arg-type]
            challenged.extend(each for each in answer.history if each.status_code == 401)
            return answer

        for number in range(40):
            assert ask("PUT", sessions[number % 4], "f.txt", data=b"%d" % number).status_code in (201, 204)
        assert len(challenged) == 1
        nonce = auth._thread_local.chal["nonce"]
        used = sessions[0].get(f"{server.url}f.txt").request
        replayed = dict(used.headers)
        for stop in (server.kill, lambda: server.stop()):
            stop()
            server.start()
            assert ask("PUT", requests.Session(), "f.txt", data=b"x", auth=auth).status_code == 204
            assert ask("GET", sessions[1], "f.txt").content == b"x"
        assert auth._thread_local.chal["nonce"] == nonce
        assert len(challenged) == 1
        # What somebody has seen of it is worth nothing.
        assert requests.get(f"{server.url}f.txt", headers=replayed).status_code == 401
    finally:
        server.stop()


def test_htpasswd_and_htdigest_of_apache(tmp_path: Path) -> None:
    passwords, hashes = tmp_path / "htpasswd", tmp_path / "htdigest"
    run(tool("htpasswd"), "-cbB", "-C", "4", str(passwords), "bob", PASSWORD)
    run(tool("htpasswd"), "-bm", str(passwords), "carol", PASSWORD)
    hashes.write_text(f"dora:{REALM}:{digests('dora', Algorithm.MD5)[0]}\n")
    auth = {"htpasswd_file": str(passwords), "htdigest_file": str(hashes)}
    with Process(tmp_path, "-c", str(configure(tmp_path, auth=auth, users={}))) as server:
        for name in ("bob", "carol", "dora"):
            assert requests.get(server.url, auth=(name, PASSWORD)).status_code == 200
            assert requests.get(server.url, auth=(name, "wrong")).status_code == 401
        assert requests.get(server.url, auth=HTTPDigestAuth("dora", PASSWORD)).status_code == 200
        # As the file has nothing stronger, nothing stronger is offered.
        challenges = requests.get(server.url).headers["WWW-Authenticate"]
        assert "SHA-256" not in challenges
        run(tool("htpasswd"), "-bB", "-C", "4", str(passwords), "eve", PASSWORD)
        run(tool("htpasswd"), "-D", str(passwords), "bob")
        end = time.monotonic() + 20  # it is looked at once a second
        for name, status in (("eve", 200), ("bob", 401)):
            while requests.get(server.url, auth=(name, PASSWORD)).status_code != status:
                assert time.monotonic() < end, f"{name} is not {status}"


NGINX = """
user {user}; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen unix:{folder}/front.sock;
        auth_basic "nginx"; auth_basic_user_file {folder}/nginx-users;
        location / {{
            proxy_pass http://127.0.0.1:{port};
            proxy_set_header Host $http_host;
            proxy_set_header Remote-User $remote_user;
            proxy_set_header X-Forwarded-For 192.0.2.77;
            proxy_set_header Authorization "";
        }}
    }}
}}
"""


def test_a_real_nginx_that_logs_users_in(tmp_path: Path) -> None:
    nginx, curl = tool("nginx"), tool("curl")
    run(tool("htpasswd"), "-cbs", str(tmp_path / "nginx-users"), "alice", "at the gate")
    rules = [{"path": "/alice", "who": "alice", "allow": "rw"}, {"path": "/", "who": "authenticated", "allow": "r"}]
    config = configure(
        tmp_path, auth={"proxy_user_header": "Remote-User", "digest": False}, trusted_proxies=["127.0.0.1"], rules=rules
    )
    with Process(tmp_path, "-c", str(config)) as server:
        (server.root / "alice").mkdir()
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=server.port, user=getpass.getuser()))
        front = subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:

            def ask(*options: str, path: str = "alice/f.txt") -> str:
                done = run(
                    curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                    "--unix-socket", f"{tmp_path}/front.sock", *options, f"http://files.example/{path}",
                )  # fmt: skip
                assert done.stdout, done.stderr
                return done.stdout[-3:]

            while not (tmp_path / "front.sock").exists():
                assert front.poll() is None, (tmp_path / "error.log").read_text()
            login = ("-u", "alice:at the gate")
            assert ask("-X", "PUT", "-d", "x", *login) == "201"
            assert ask("-X", "PUT", "-d", "x", *login, path="other.txt") == "403"
            assert ask(*login, path="alice/f.txt") == "200"
            # Nobody else's word counts: neither through the proxy, which says it itself, nor past it.
            assert ask("-X", "DELETE", *login, "-H", "Remote-User: bob", "-H", "Remote_User: bob") == "204"
            assert any('192.0.2.77 alice "PUT /alice/f.txt" 201' in line for line in server.output)
        finally:
            front.terminate()
            front.wait(timeout=20)


def test_past_the_proxy_nobody_is_believed(tmp_path: Path) -> None:
    config = configure(tmp_path, auth={"proxy_user_header": "Remote-User"}, trusted_proxies=["192.0.2.1"])
    with Process(tmp_path, "-c", str(config)) as server:
        for name in ("Remote-User", "Remote_User", "REMOTE-USER", "remote_user"):
            answer = server.client()("PROPFIND", "/", headers={name: "alice"}, Depth="0")
            assert answer.status == 401


def test_a_login_from_a_banned_name_is_429_with_its_time(tmp_path: Path) -> None:
    """All workers count together, in the database."""
    with Process(tmp_path, "-c", str(configure(tmp_path))) as server:
        seen = [requests.get(server.url, auth=("alice", f"guess {number}")) for number in range(12)]
        assert [answer.status_code for answer in seen[:5]] == [401] * 5
        refused = [answer for answer in seen if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert requests.request("OPTIONS", server.url, auth=("alice", "guess")).status_code == 200
        lines = [line for line in server.output if "login failed" in line]
        assert len(lines) == 12 - len(refused)
        assert 'WARNING login failed: address=127.0.0.1 scheme=basic user="alice"' in lines[0]
        assert requests.get(server.url, auth=("Jürgen".encode(), PASSWORD)).status_code == 200


def test_a_drive_with_a_mistyped_password_stops_nobody_else(tmp_path: Path) -> None:
    """By Digest, where each of its requests looks like another guess; over two workers, behind one address of many."""
    with Process(tmp_path, "-c", str(configure(tmp_path, trusted_proxies=["127.0.0.1"]))) as server:
        home = {"X-Forwarded-For": "192.0.2.77"}
        drive = HTTPDigestAuth("alice", "mistyped")
        seen = [
            requests.request("PROPFIND", server.url, auth=drive, headers={**home, "Depth": "0"}).status_code
            for _ in range(30)
        ]
        assert set(seen) == {401, 429}
        lines = [line for line in server.output if "login failed" in line]
        assert len(lines) == 2
        assert "address=192.0.2.77 scheme=digest" in lines[0]
        for login in ("Jürgen".encode(), PASSWORD), HTTPDigestAuth("Jürgen", PASSWORD):
            assert requests.get(server.url, auth=login, headers=home).status_code == 200  # type: ignore[arg-type]
        # Nor its user elsewhere.
        assert requests.get(server.url, auth=HTTPDigestAuth("alice", PASSWORD)).status_code == 200

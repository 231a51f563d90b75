"""What tests of real client programs share: the programs, and the servers they are pointed at."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from serving import QUICK

from davserver.access.accounts import Algorithm, ha1

REALM = "my files"
PASSWORD = "wonder land"
#: Its certificate signs itself, for 127.0.0.1.
CERTIFICATE = Path(__file__).parent / "server" / "tls" / "one.pem"
TLS = {"cert": str(CERTIFICATE), "key": str(CERTIFICATE.with_suffix(".key"))}
#: What libraries on Debian trust that are told nothing else.
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(
    *command: str, stdin: str = "", cwd: Path | None = None, timeout: float = 60, **environ: str
) -> subprocess.CompletedProcess[str]:
    """`environ`: instead of ours, where there is any."""
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False, env=environ or None
    )


def digests(name: str, *algorithms: Algorithm) -> list[str]:
    return [ha1(algorithm, name, REALM, PASSWORD) for algorithm in algorithms or Algorithm]


def configure(folder: Path, name: str = "davserver.yaml", **values: object) -> Path:
    """Settings for `davserver serve -c`: alice and Jürgen log in with PASSWORD, by Basic or Digest. `auth` of ours is
    merged with what is given."""
    file = folder / name
    auth = {"realm": REALM, "digest": True, **values.pop("auth", {})}  # type: ignore[dict-item]
    settings = {
        "users": {
            "alice": {"password": QUICK.hash(PASSWORD), "digest": digests("alice")},
            "Jürgen": {"password": QUICK.hash(PASSWORD), "digest": digests("Jürgen")},
        },
        "auth": auth,
        "workers": 2,
        "durability": "relaxed",
        **values,
    }
    file.write_text(yaml.safe_dump(settings, allow_unicode=True))
    return file


def anonymous(folder: Path, name: str = "anonymous.yaml", **values: object) -> Path:
    """The same settings, but everybody may do everything without a login."""
    return configure(folder, name, users={}, auth={"digest": False}, **values)


def free_port() -> int:
    """For a server that is to come back where it was."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def trusting(folder: Path) -> list[str]:
    """What a command stands behind to trust the certificate of TLS besides the usual ones, for clients that cannot be
    told: it runs in a mount namespace of its own, so that nobody else sees it. Empty where that cannot be: it needs
    root, and a file of trusted certificates. `folder`: where ours is to be."""
    bundle = folder / "trusted.crt"
    bundle.write_bytes((TRUSTED.read_bytes() if TRUSTED.exists() else b"") + CERTIFICATE.read_bytes())
    prefix = ["unshare", "--mount", "sh", "-c", f'mount --bind "{bundle}" {TRUSTED} && exec "$@"', "sh"]
    if os.geteuid() or not TRUSTED.exists() or subprocess.run([*prefix, "true"], check=False).returncode:
        return []
    return prefix

"""Which folders are on a network file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from davserver.storage.mounts import network_type

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /mnt/nas rw,relatime shared:2 - nfs4 nas:/export rw,vers=4.2
31 22 0:31 / /mnt/win\040dows rw shared:3 - cifs //win/share rw
32 30 254:1 / /mnt/nas/local rw - xfs /dev/vdb rw
33 22 0:33 / /mnt/ssh rw - fuse.sshfs host:/ rw
34 22 0:34 / /mnt/pool rw - fuse.mergerfs a:b rw
35 22 0:35 / /wsl rw - 9p drvfs rw
36 22 0:36 / /over rw - nfs nas:/x rw
37 36 0:37 / /over rw - tmpfs tmpfs rw
38 22 0:38 / /mnt/vm rw - virtiofs tag rw
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", None),
        ("/var/lib/davserver", None),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/state", "nfs4"),
        ("/mnt/nasty", None),
        ("/mnt/nas/local/state", None),
        ("/mnt/win dows/state", "cifs"),
        ("/mnt/ssh/a/b", "fuse.sshfs"),
        ("/mnt/pool/state", None),
        ("/wsl/state", "9p"),
        ("/over/state", None),
        ("/mnt/vm", None),
    ],
)
def test_what_is_mounted_nearest_counts(folder: str, kind: str | None) -> None:
    assert network_type(folder, MOUNTS) == kind


def test_this_machine(tmp_path: Path) -> None:
    assert network_type(str(tmp_path)) is None


def test_without_proc_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fail)
    assert network_type("/") is None

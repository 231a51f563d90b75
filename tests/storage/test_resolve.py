"""Resolving below a root: openat2, and the walk that stands in for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.storage import resolve
from davserver.storage.resolve import Resolver, has_openat2


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b" / "f").write_bytes(b"inside")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "f").write_bytes(b"outside")
    (tmp_path / "root" / "out").symlink_to("../root2")
    (tmp_path / "root" / "in").symlink_to("a")
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[True, False], ids=["openat2", "walk"])
def resolver(request: pytest.FixtureRequest, root: int) -> Resolver:
    return Resolver(root, use_openat2=request.param)


def content(resolver: Resolver, *names: str) -> bytes:
    fd = resolver.open(names, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_names_lead_to_what_lies_there(resolver: Resolver) -> None:
    assert content(resolver, "a", "b", "f") == b"inside"
    for names in ((), ("a",), ("a", "b")):
        os.close(resolver.open(names, os.O_RDONLY | os.O_DIRECTORY))
        os.close(resolver.open(names, os.O_PATH))


@pytest.mark.parametrize(
    "names", [("out", "f"), ("in", "b", "f"), ("in",), ("out",), ("a", "missing"), ("a", "b", "f", "x")]
)
def test_links_and_gaps_lead_nowhere(names: tuple[str, ...], resolver: Resolver) -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011
        resolver.open(names, os.O_RDONLY)
    assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT)


def test_a_pipe_is_opened_without_waiting(resolver: Resolver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "pipe")
    os.close(resolver.open(("pipe",), os.O_RDONLY))


def test_openat2_does_not_leave_the_root(root: int) -> None:
    with pytest.raises(OSError, match="cross-device"):
        Resolver(root, use_openat2=True).open(("..", "root2", "f"), os.O_RDONLY)


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSYS, False), (errno.EPERM, False), (0, True)])
def test_it_is_known_whether_the_kernel_can(number: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    has_openat2.cache_clear()
    if number:
        monkeypatch.setattr(resolve, "_openat2", failing(number))
    assert has_openat2() is expected
    has_openat2.cache_clear()


def test_an_error_that_means_something_else_is_not_swallowed(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    has_openat2.cache_clear()
    monkeypatch.setattr(resolve, "_openat2", failing(errno.EMFILE))
    with pytest.raises(OSError, match="EMFILE"):
        has_openat2()
    has_openat2.cache_clear()


def test_a_disturbed_resolution_is_walked(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(root, use_openat2=True)
    monkeypatch.setattr(resolve, "_openat2", failing(errno.EAGAIN))
    assert content(resolver, "a", "b", "f") == b"inside"


def test_links_are_followed_below_the_root_where_that_is_asked(root: int) -> None:
    resolver = Resolver(root, use_openat2=True)
    os.close(resolver.follow(("in", "b", "f"), os.O_PATH))
    os.close(resolver.follow((), os.O_PATH))
    with pytest.raises(OSError, match="cross-device"):
        resolver.follow(("out", "f"), os.O_PATH)
    with pytest.raises(OSError, match="not implemented"):
        Resolver(root, use_openat2=False).follow(("in",), os.O_PATH)


def test_a_disturbed_look_along_links_is_tried_again_and_ends(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver, real, calls = Resolver(root, use_openat2=True), resolve._openat2, []

    def disturbed(*arguments: object, **keywords: object) -> int:
        calls.append(arguments)
        if len(calls) <= times:
            raise OSError(errno.EAGAIN, "EAGAIN")
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(resolve, "_openat2", disturbed)
    times = 3
    os.close(resolver.follow(("in", "b", "f"), os.O_PATH))
    times = 1000
    with pytest.raises(OSError, match="cross-device"):
        resolver.follow(("in", "b", "f"), os.O_PATH)


def failing(number: int) -> object:
    def fail(*_: object) -> int:
        raise OSError(number, errno.errorcode[number])

    return fail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_it_works_for_whoever_may_not_enter_the_folder_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sudo -u davserver davserver locks list` in root's home."""
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "closed")
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            os.listdir(".")
        found = has_openat2.__wrapped__()
    finally:
        os.seteuid(0)
    assert found == has_openat2()

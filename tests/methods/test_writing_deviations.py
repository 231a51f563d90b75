"""Files and names, where stock WsgiDAV 4.4.0 bends: each test fails on its behaviour."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from serving import Running, serving
from wire import Dav


def stray(server: Running, folder: str) -> list[str]:
    """What lies in the folder on disk, private names included."""
    return sorted(entry.name for entry in (server.root / folder[1:]).iterdir())


def test_a_body_shorter_than_announced_changes_nothing(server: Running, dav: Dav, folder: str) -> None:
    """RFC 9112 §8."""
    dav("PUT", f"{folder}/f", b"old")
    tag = dav("HEAD", f"{folder}/f").headers["etag"]
    for name in ("f", "new"):
        with server.raw() as raw:
            raw.send(f"PUT {folder}/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort".encode())
            raw.stop_sending()
            status, fields, _ = raw.answer()
        assert status == 400
        assert fields["connection"] == "close"
    answer = dav("GET", f"{folder}/f")
    assert (answer.body, answer.headers["etag"]) == (b"old", tag)
    assert stray(server, folder) == ["f"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(server: Running, dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f", b"old")
    with server.raw() as upload:
        upload.send(f"PUT {folder}/f HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nnew".encode())
        with server.raw() as fresh:
            fresh.send(f"PUT {folder}/g HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nnew".encode())
            assert dav("GET", f"{folder}/f").body == b"old"
            assert dav("GET", f"{folder}/g").status == 404
            upload.send(b"!!!")
            fresh.send(b"!!!")
            assert upload.answer()[0] == 204
            assert fresh.answer()[0] == 201
    assert dav("GET", f"{folder}/f").body == dav("GET", f"{folder}/g").body == b"new!!!"


def test_two_puts_at_once_give_one_whole_file(server: Running, dav: Dav, folder: str) -> None:
    with server.raw() as one, server.raw() as two:
        for raw, letter in ((one, "a"), (two, "b")):
            raw.send(f"PUT {folder}/f HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{letter * 4}".encode())
        for raw, letter in ((one, b"a"), (two, b"b")):
            raw.send(letter * 4)
        assert sorted([one.answer()[0], two.answer()[0]]) == [201, 204]
    assert dav("GET", f"{folder}/f").body in (b"a" * 8, b"b" * 8)


def test_if_none_match_creates_exactly_once(server: Running, dav: Dav, folder: str) -> None:
    """RFC 9110 §13.1.2."""
    for number in range(10):
        statuses: list[int] = []
        ready = threading.Barrier(8)

        def create(path: str, statuses: list[int] = statuses, ready: threading.Barrier = ready) -> None:
            client = server.client()
            ready.wait()
            statuses.append(client("PUT", path, b"x", If_None_Match="*").status)
            client.close()

        threads = [threading.Thread(target=create, args=(f"{folder}/{number}",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] + [412] * 7


def test_copy_with_depth_0_makes_an_empty_collection(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.8.3."""
    dav("MKCOL", f"{folder}/c")
    dav("PUT", f"{folder}/c/f", b"x")
    dav.proppatch(f"{folder}/c", '<D:set><D:prop><x xmlns="urn:t">kept</x></D:prop></D:set>')
    assert dav("COPY", f"{folder}/c", Destination=dav.url(f"{folder}/d"), Depth="0").status == 201
    assert dav.propfind(f"{folder}/d", depth="1").hrefs() == [f"{folder}/d/"]
    assert dav.propfind(f"{folder}/d", "x", namespace="urn:t").find("//*[local-name()='x'][text()='kept']")


@pytest.mark.parametrize("name", ["x%3Fy.txt", "a%3Bb.txt", "h%23h.txt", "p%25p.txt", "a%20b.txt", "%C3%BC.txt"])
def test_a_destination_is_split_before_it_is_decoded(name: str, dav: Dav, folder: str) -> None:
    """RFC 3986 §2.4: otherwise `x%3Fy.txt` lands as `x`, and overwrites whatever is there."""
    for innocent in ("x", "a", "h", "p"):
        dav("PUT", f"{folder}/{innocent}", b"innocent")
    dav("PUT", f"{folder}/source", b"moved")
    assert dav("MOVE", f"{folder}/source", Destination=dav.url(f"{folder}/{name}")).status == 201
    assert dav("GET", f"{folder}/{name}").body == b"moved"
    for innocent in ("x", "a", "h", "p"):
        assert dav("GET", f"{folder}/{innocent}").body == b"innocent"


def test_a_file_copied_over_a_folder_replaces_it(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.8.4; and the other way round, and within trees."""
    dav("PUT", f"{folder}/file", b"file")
    dav("MKCOL", f"{folder}/tree")
    dav("MKCOL", f"{folder}/tree/x")
    dav("PUT", f"{folder}/tree/x/inside", b"1")
    assert dav("COPY", f"{folder}/file", Destination=dav.url(f"{folder}/tree/x")).status == 204
    assert dav("GET", f"{folder}/tree/x").body == b"file"
    dav("MKCOL", f"{folder}/other")
    dav("MKCOL", f"{folder}/other/x")
    assert dav("COPY", f"{folder}/tree", Destination=dav.url(f"{folder}/other")).status == 204
    assert dav("GET", f"{folder}/other/x").body == b"file"
    assert dav("MOVE", f"{folder}/other", Destination=dav.url(f"{folder}/file")).status == 204
    assert dav("GET", f"{folder}/file/x").body == b"file"


def set_x(dav: Dav, path: str, value: str) -> None:
    assert dav.proppatch(path, f'<D:set><D:prop><x xmlns="urn:t">{value}</x></D:prop></D:set>').status == 207


def get_x(dav: Dav, path: str) -> list[str]:
    return dav.propfind(path, "x", namespace="urn:t").texts(
        "//D:propstat[contains(D:status, '200')]//*[local-name()='x']"
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_properties_of_members_follow_a_copied_collection(slash: str, dav: Dav, folder: str) -> None:
    """RFC 4918 §9.8.2, whatever slash the URLs end in."""
    dav("MKCOL", f"{folder}/c")
    dav("PUT", f"{folder}/c/f", b"x")
    set_x(dav, f"{folder}/c/f", "follows")
    assert dav("COPY", f"{folder}/c", Destination=dav.url(f"{folder}/d{slash}")).status == 201
    assert get_x(dav, f"{folder}/d/f") == ["follows"]
    assert dav("MOVE", f"{folder}/d/", Destination=dav.url(f"{folder}/e{slash}")).status == 201
    assert get_x(dav, f"{folder}/e/f") == ["follows"]


def test_properties_of_what_was_overwritten_do_not_come_back(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.8.4."""
    for name in ("c", "d"):
        dav("MKCOL", f"{folder}/{name}")
        dav("PUT", f"{folder}/{name}/f", b"x")
    set_x(dav, f"{folder}/d/f", "of the old file")
    assert dav("COPY", f"{folder}/c", Destination=dav.url(f"{folder}/d")).status == 204
    assert get_x(dav, f"{folder}/d/f") == []
    set_x(dav, f"{folder}/d/f", "of a deleted file")
    dav("DELETE", f"{folder}/d/f")
    dav("PUT", f"{folder}/d/f", b"new")
    assert get_x(dav, f"{folder}/d/f") == []
    set_x(dav, f"{folder}/d/f", "of the folder that a move replaces")
    assert dav("MOVE", f"{folder}/c", Destination=dav.url(f"{folder}/d")).status == 204
    assert get_x(dav, f"{folder}/d/f") == []


def test_only_the_beginning_of_a_path_changes_in_a_move(tmp_path: Path) -> None:
    """RFC 4918 §9.9.1: MOVE /q -> /w keeps the properties of /q/x/q/y."""
    with serving(tmp_path) as running:
        dav = running.client()
        for path in ("/q", "/q/x", "/q/x/q"):
            dav("MKCOL", path)
        dav("PUT", "/q/x/q/y", b"x")
        set_x(dav, "/q/x/q/y", "kept")
        assert dav("MOVE", "/q", Destination=dav.url("/w")).status == 201
        assert get_x(dav, "/w/x/q/y") == ["kept"]
        dav.close()


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_new_destination_is_201_and_a_replaced_one_204(method: str, dav: Dav, folder: str) -> None:
    """RFC 4918 §9.8.5, §9.9.4."""
    for status in (201, 204):
        dav("PUT", f"{folder}/f", b"x")
        assert dav(method, f"{folder}/f", Destination=dav.url(f"{folder}/g")).status == status


@pytest.mark.parametrize("method", ["PUT", "MKCOL", "LOCK"])
def test_a_name_too_long_is_the_clients_error(method: str, server: Running, dav: Dav, folder: str) -> None:
    path = f"{folder}/{'n' * 300}"
    answer = dav.lock(path) if method == "LOCK" else dav(method, path)
    assert answer.status == 414
    assert str(server.root) not in answer.body.decode()
    assert b"Errno" not in answer.body
    assert stray(server, folder) == []


def test_a_destination_needs_no_host_header(server: Running, dav: Dav, folder: str) -> None:
    dav("PUT", f"{folder}/f", b"x")
    with server.raw() as raw:
        raw.send(f"MOVE {folder}/f HTTP/1.0\r\nDestination: http://h{folder}/g\r\n\r\n".encode())
        assert raw.answer()[0] == 201


def test_mkcol_with_a_chunked_body_is_415(dav: Dav, folder: str) -> None:
    """RFC 4918 §9.3.1."""
    assert dav("MKCOL", f"{folder}/c", [b"<x/>"]).status == 415
    assert dav("MKCOL", f"{folder}/c", b"<x/>").status == 415
    assert dav("GET", f"{folder}/c").status == 404
    assert dav("MKCOL", f"{folder}/c", []).status == 201


def test_mkcol_races_make_one_collection_and_no_error(server: Running, dav: Dav, folder: str) -> None:
    for number in range(10):
        statuses: list[int] = []
        ready = threading.Barrier(6)

        def make(path: str, statuses: list[int] = statuses, ready: threading.Barrier = ready) -> None:
            client = server.client()
            ready.wait()
            statuses.append(client("MKCOL", path).status)
            client.close()

        threads = [threading.Thread(target=make, args=(f"{folder}/{number}",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] + [405] * 5

"""The checker of histories: it finds what is wrong, and nothing in what is right."""

from __future__ import annotations

import pytest
from lockhistory import UNKNOWN, Op, violations


def op(client: int, kind: str, path: str, sent: float, back: float, status: int = 200, **more: object) -> Op:
    return Op(client, kind, path, sent, back, status, **more)  # type: ignore[arg-type]


def lock(client: int, path: str, sent: float, token: str, **more: object) -> Op:
    return op(client, "LOCK", path, sent, sent + 1, tokens=(token,), **more)


def unlock(client: int, path: str, sent: float, token: str, status: int = 204) -> Op:
    return op(client, "UNLOCK", path, sent, sent + 1, status, tokens=(token,))


def put(client: int, path: str, sent: float, *tokens: str, status: int = 204, **more: object) -> Op:
    return op(client, "PUT", path, sent, sent + 1, status, tokens=tokens, **more)


def get(client: int, path: str, sent: float, content: str | None) -> Op:
    return op(client, "GET", path, sent, sent + 1, content=content)


RIGHT = {
    "nothing": [],
    "one after the other": [lock(1, "/a", 0, "t1"), unlock(1, "/a", 2, "t1"), lock(2, "/a", 2.5, "t2")],
    "side by side": [lock(1, "/a", 0, "t1"), lock(2, "/b", 0, "t2"), lock(3, "/ab", 0, "t3")],
    "a depth-0 folder and its member": [lock(1, "/d", 0, "t1"), lock(2, "/d/a", 0, "t2")],
    "shared": [lock(1, "/a", 0, "t1", shared=True), lock(2, "/a", 0, "t2", shared=True)],
    "refused": [lock(1, "/a", 0, "t1"), op(2, "LOCK", "/a", 2, 3, 423), put(2, "/a", 2, status=423)],
    "the holder writes and reads": [
        lock(1, "/a", 0, "t1"), get(1, "/a", 1, "x"), put(1, "/a", 2, "t1", content="y"), get(1, "/a", 3, "y"),
    ],
    "a write that may have been before the lock": [put(2, "/a", 0.5), lock(1, "/a", 0, "t1")],
    "a write that may have been after it": [
        lock(1, "/a", 0, "t1"), unlock(1, "/a", 2, "t1"), op(2, "PUT", "/a", 1.5, 2.5, 204),
    ],
    "a write beside it": [lock(1, "/d/a", 0, "t1"), put(2, "/d/b", 2, status=201)],
    "a write below a depth-0 folder": [lock(1, "/d", 0, "t1"), put(2, "/d/b", 2, status=204)],
    "of shared locks one's own": [
        lock(1, "/d", 0, "t1", deep=True, shared=True), lock(2, "/d/a", 0, "t2", shared=True), put(2, "/d/a", 3, "t2"),
    ],
    "it goes with its file": [
        lock(1, "/a", 0, "t1"), op(1, "DELETE", "/a", 2, 3, 204, tokens=("t1",)), put(2, "/a", 4, status=201),
    ],
    "shared ones go with it, all of them": [
        lock(1, "/a", 0, "t1", shared=True), lock(2, "/a", 0, "t2", shared=True),
        op(2, "DELETE", "/a", 2, 3, 204, tokens=("t2",)), lock(3, "/a", 4, "t3"),
    ],
    "nobody knows": [lock(1, "/a", 0, "t1"), put(2, "/a", 2, status=UNKNOWN), put(1, "/a", 4, "t1", status=UNKNOWN),
                     get(1, "/a", 6, "either")],
    "others change what is not held": [lock(1, "/a", 0, "t1"), get(1, "/b", 2, "x"), get(1, "/b", 4, "y")],
}  # fmt: skip

WRONG = {
    "a shared lock that another path's took away": (
        [lock(1, "/a", 0, "t1", shared=True), lock(2, "/b", 0, "t2", shared=True),
         op(2, "DELETE", "/a", 2, 3, 204, tokens=("t2",))], "written while"),
    "two holders": ([lock(1, "/a", 0, "t1"), lock(2, "/a", 2, "t2")], "two holders"),
    "of whom one has let go too late": (
        [lock(1, "/a", 0, "t1"), lock(2, "/a", 2, "t2"), unlock(1, "/a", 3.5, "t1")], "two holders"),
    "a parent and its child": ([lock(1, "/d", 0, "t1", deep=True), lock(2, "/d/e/f", 2, "t2")], "two holders"),
    "a child and its parent": ([lock(1, "/d/f", 0, "t1"), lock(2, "/", 2, "t2", deep=True)], "two holders"),
    "shared and exclusive": ([lock(1, "/a", 0, "t1", shared=True), lock(2, "/a", 2, "t2")], "two holders"),
    "one who was refused the end": (
        [lock(1, "/a", 0, "t1"), unlock(1, "/a", 1.5, "t1", 409), lock(2, "/a", 4, "t2")], "two holders"),
    "a write without a token": ([lock(1, "/a", 0, "t1"), put(2, "/a", 2)], "written while"),
    "a write with another's token": ([lock(1, "/a", 0, "t1"), put(2, "/a", 2, "t1")], "written while"),
    "a write with a token of elsewhere": (
        [lock(1, "/a", 0, "t1"), lock(2, "/b", 0, "t2"), put(2, "/a", 2, "t2")], "written while"),
    "deep below": ([lock(1, "/d", 0, "t1", deep=True), put(2, "/d/e/f", 2, status=201)], "written while"),
    "a new member": ([lock(1, "/d", 0, "t1"), put(2, "/d/n", 2, status=201)], "written while"),
    "a member that goes": ([lock(1, "/d", 0, "t1"), op(2, "DELETE", "/d/n", 2, 3, 204)], "written while"),
    "a member that is moved away": ([lock(1, "/d", 0, "t1"), op(2, "MOVE", "/d/n", 2, 3, 201, target="/n")], "written"),
    "a member that arrives": ([lock(1, "/d", 0, "t1"), op(2, "MOVE", "/n", 2, 3, 201, target="/d/n")], "written while"),
    "what is replaced": ([lock(1, "/d/n", 0, "t1"), op(2, "MOVE", "/n", 2, 3, 204, target="/d/n")], "written while"),
    "through a shared lock": ([lock(1, "/a", 0, "t1", shared=True), put(2, "/a", 2)], "written while"),
    "through a shared lock beside one's own": (
        [lock(1, "/a", 0, "t1", shared=True), lock(2, "/b", 0, "t2", shared=True), put(2, "/a", 2, "t2")],
        "written while"),
    "a slow upload that lands in between": (
        [op(2, "PUT", "/a", 0, 9, 204), lock(1, "/a", 1, "t1"), get(1, "/a", 3, "old"), get(1, "/a", 5, "new"),
         unlock(1, "/a", 7, "t1")], "changed while"),
    "a member that comes or goes": (
        [lock(1, "/d", 0, "t1", deep=True), op(1, "LIST", "/d", 2, 3, content="a"),
         op(1, "LIST", "/d", 4, 5, content="a b")], "changed while"),
    "an own write that is lost": (
        [lock(1, "/a", 0, "t1"), put(1, "/a", 2, "t1", content="y"), get(1, "/a", 4, "x")], "changed while"),
    "a lock that is lost": ([lock(1, "/a", 0, "t1"), put(1, "/a", 2, "t1", status=412)], "the holder was refused"),
    "a refresh that is refused": (
        [lock(1, "/a", 0, "t1"), op(1, "REFRESH", "/a", 2, 3, 412, tokens=("t1",))], "the holder was refused"),
    "a token that is dead": (
        [lock(1, "/a", 0, "t1"), unlock(1, "/a", 2, "t1"), put(1, "/a", 4, "t1")], "had been released"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_locks_that_hold_explain(name: str) -> None:
    assert violations(RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_no_lock_explains(name: str) -> None:
    history, said = WRONG[name]
    found = violations(history)
    assert len(found) >= 1
    assert all(said in each for each in found)


@pytest.mark.parametrize("name", WRONG)
def test_it_is_found_in_the_middle_of_much_else(name: str) -> None:
    """Many locks before, after and beside it, all of them right."""
    noise = [
        each
        for number in range(200)
        for each in (
            lock(9, "/noise", 10 * number - 900, f"n{number}"),
            put(9, "/noise", 10 * number - 898, f"n{number}"),
            unlock(9, "/noise", 10 * number - 896, f"n{number}"),
        )
    ]
    assert violations(noise) == []
    assert violations([*noise, *WRONG[name][0]])

"""Throttling, by a clock of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from test_access import Counting, Source, asking, basic, rules
from test_digest import World, account

from davserver.access.access import CACHE_SECONDS, WRONG_SECONDS, Access
from davserver.access.accounts import Account, Directory, Listed
from davserver.access.app_passwords import AppPasswords
from davserver.access.throttle import DIGEST_BLAMED, DIGEST_FORGIVEN, NAME_SLOW_AFTER, Throttle, network_of
from davserver.protocol.errors import TooManyRequests, Unauthorized
from davserver.storage.shared_key import shared_key
from davserver.storage.sqlite import SqliteState

HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    found = SqliteState(str(tmp_path), durable=False)
    yield found
    found.close()


def throttling(state: SqliteState, **options: object) -> Throttle:
    values = {"ban_after": 15, "ban_time": 1800.0, "key": shared_key(state, "throttle"), **options}
    return Throttle(state, **values)  # type: ignore[arg-type]


#: In place of a guess: a login by Digest.
DIGEST = object()


def fail(throttle: Throttle, guess: object, now: float, address: str = HERE, name: str = "alice") -> int:
    """Seconds to wait; 0: it was looked at, and was wrong; -1: as before, and it was no new guess."""
    try:
        with throttle.attempt(address, name, None if guess is DIGEST else str(guess).encode(), now) as attempt:
            return 0 if attempt.is_new else -1
    except TooManyRequests as refused:
        return refused.retry_after


def succeed(throttle: Throttle, now: float, address: str = HERE, name: str = "alice") -> int:
    try:
        with throttle.attempt(address, name, b"right", now) as attempt:
            attempt.succeeded()
    except TooManyRequests as refused:
        return refused.retry_after
    return 0


@pytest.mark.parametrize(("now", "said"), [(102, "1 second"), (101, "2 seconds")])
def test_whoever_must_wait_is_told_how_long(now: float, said: str, state: SqliteState) -> None:
    throttle = throttling(state)
    for number in range(6):
        assert fail(throttle, number, 100 + max(0, number - 4)) == 0
    with (
        pytest.raises(TooManyRequests, match=f"try again in {said}\\.$"),
        throttle.attempt(HERE, "alice", b"another", now),
    ):
        pytest.fail("it was looked at")


def test_after_five_failures_each_attempt_waits_twice_as_long(state: SqliteState) -> None:
    throttle = throttling(state)
    assert [fail(throttle, number, 100) for number in range(5)] == [0] * 5
    now, waits = 100.0, []
    for number in range(5, 15):
        wait = fail(throttle, f"early {number}", now)
        waits.append(wait)
        assert fail(throttle, f"early {number}", now + wait - 0.5) == 1
        now += wait
        assert fail(throttle, number, now) == 0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    # The fifteenth was one too many.
    assert fail(throttle, "x", now) == 1800
    assert succeed(throttle, now + 1) == 1799
    assert fail(throttle, "x", now + 1799.5) == 1
    assert succeed(throttle, now + 1800) == 0


def test_at_full_speed_fewer_than_fifteen_are_looked_at(state: SqliteState) -> None:
    throttle = throttling(state)
    looked_at = sum(fail(throttle, number, 100 + number / 1000) == 0 for number in range(1000))
    assert looked_at == 5


def test_a_thousand_at_the_same_moment_are_no_way_around(state: SqliteState) -> None:
    """What is being verified is counted as well."""
    throttle = throttling(state)
    inside, looked_at = threading.Barrier(16, timeout=20), []

    def guess(number: int) -> None:
        try:
            with throttle.attempt(HERE, "alice", b"%d" % number, 100):
                looked_at.append(number)
                inside.wait()  # nobody's failure is known before all that are let in have begun
        except TooManyRequests:
            refused.append(number)

    refused: list[int] = []
    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(refused) < 25 and time.monotonic() < deadline:
        threads[0].join(0.01)
    assert len(looked_at) == 15
    inside.wait()
    for thread in threads:
        thread.join(20)
    assert fail(throttle, "x", 101) == 1799


def test_another_address_and_another_user_are_not_slowed_down(state: SqliteState) -> None:
    throttle = throttling(state)
    for number in range(15):
        assert fail(throttle, number, 100 + 2.0 ** max(number - 4, 0)) == 0
    now = 100 + 1100.0
    assert fail(throttle, "x", now) > 0
    assert succeed(throttle, now, THERE) == 0
    assert succeed(throttle, now, THERE, "bob") == 0
    assert fail(throttle, "x", now, HERE, "bob") > 0  # from there nobody


def test_the_same_wrong_guess_counts_once(state: SqliteState) -> None:
    throttle = throttling(state)
    assert fail(throttle, "typo", 100) == 0
    assert [fail(throttle, "typo", 100 + second) for second in range(1, 1700, 50)] == [-1] * 34
    assert [fail(throttle, number, 1790) for number in range(4)] == [0] * 4
    assert fail(throttle, "typo", 1790.5) == 1  # who guesses beside it waits
    assert fail(throttle, "typo", 2000) == 0  # forgotten in the meantime, and counted again


def test_who_knows_the_password_after_all_is_forgiven(state: SqliteState) -> None:
    throttle = throttling(state)
    for number in range(4):
        fail(throttle, number, 100)
    assert succeed(throttle, 100) == 0
    assert [fail(throttle, number, 101) for number in range(5)] == [0] * 5
    # Not what the same address tried on others.
    assert fail(throttle, "x", 101, name="bob") == 1
    assert succeed(throttle, 103, name="bob") == 0
    assert fail(throttle, "x", 103.0) == 0
    assert fail(throttle, "y", 103.0) == 2


def test_workers_and_the_next_start_count_together(state: SqliteState, tmp_path: Path) -> None:
    other_state = SqliteState(str(tmp_path), durable=False)
    workers = [throttling(state), throttling(other_state)]
    for number in range(5):
        fail(workers[number % 2], number, 100)
    assert [fail(worker, "x", 100) for worker in workers] == [1, 1]
    assert fail(workers[1], 0, 101.5) == -1  # the same guess as the other one has seen
    other_state.close()


def test_a_name_that_is_tried_from_everywhere_is_slowed_down_and_never_for_long(state: SqliteState) -> None:
    throttle = throttling(state)
    for number in range(NAME_SLOW_AFTER):
        assert fail(throttle, number, 100, f"10.0.{number}.1") == 0
    assert succeed(throttle, 100, THERE) == 1
    assert succeed(throttle, 100, THERE, "bob") == 0
    assert fail(throttle, "x", 101, "10.1.0.1") == 0
    assert succeed(throttle, 101, THERE) == 2
    now = 103.0
    for number in range(20):
        assert fail(throttle, number, now, f"10.2.{number}.1") == 0
        now += 30
    assert succeed(throttle, now - 30, THERE) == 30
    assert succeed(throttle, now, THERE) == 0


def test_a_clock_that_is_set_back_bans_nobody_for_longer(state: SqliteState) -> None:
    throttle = throttling(state)
    for number in range(15):
        assert fail(throttle, number, 100_000 + 2.0 ** max(number - 4, 0)) == 0
    assert fail(throttle, "x", 101_100) > 1700
    assert fail(throttle, "x", 5) == 1800
    assert fail(throttle, "x", 5 + 1800) == 0


def test_rows_are_bounded(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davserver.access.throttle._KEPT", 10)
    throttle = throttling(state)
    for number in range(30):
        fail(throttle, number, 100, f"10.0.{number}.1", f"user {number}")
    ((rows,),) = state.query("SELECT count(*) FROM login_failures")
    assert rows == 10


def test_nothing_that_was_typed_is_kept(state: SqliteState, tmp_path: Path) -> None:
    throttle = throttling(state)
    fail(throttle, "secretpassword", 100, name="mynameorpassword")
    state.query("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"secretpassword" not in kept
    assert b"mynameorpassword" not in kept


def test_where_the_state_is_away_logins_go_on(state: SqliteState, tmp_path: Path) -> None:
    throttle = throttling(state)
    (tmp_path / "state.db").rename(tmp_path / "away")
    assert [fail(throttle, number, 100) for number in range(20)] == [0] * 20
    assert succeed(throttle, 100) == 0


def test_where_it_goes_away_meanwhile_they_go_on_too(state: SqliteState, tmp_path: Path) -> None:
    throttle = throttling(state)
    with throttle.attempt(HERE, "alice", b"x", 100) as attempt:
        (tmp_path / "state.db").rename(tmp_path / "away")
        attempt.succeeded()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        ("unix", None),
    ],
)
def test_where_somebody_comes_from(address: str, network: str | None) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("address", ["127.0.0.1", "", "192.0.2.99"])
def test_behind_an_address_of_many_each_name_is_counted_by_itself(address: str, state: SqliteState) -> None:
    throttle = throttling(state, shared=lambda found: found == "192.0.2.99")
    for number in range(5):
        assert fail(throttle, number, 100, address) == 0
    assert fail(throttle, "x", 100, address) == 1
    assert succeed(throttle, 100, address, "bob") == 0


# --- Digest, where two wrong logins cannot be told from one that comes twice


def drive(
    throttle: Throttle, begin: float, seconds: float, every: float, name: str = "alice"
) -> tuple[list[float], int]:
    """A drive that asks every so often, mounted with a wrong password: when it was looked at, and lines in the log."""
    looked_at, lines, now = [], 0, begin
    while now < begin + seconds:
        said = fail(throttle, DIGEST, now, name=name)
        if said <= 0:
            looked_at.append(now)
        lines += said == 0
        now += every
    return looked_at, lines


def test_a_drive_with_a_mistyped_password_stops_nobody_else(state: SqliteState) -> None:
    throttle = throttling(state)
    for hour in range(3):
        drive(throttle, 1000 + hour * 3600, 3600, every=5)
        now = 1000 + (hour + 1) * 3600
        for typo in range(2):  # somebody else may even mistype
            assert fail(throttle, typo, now, name="bob") == 0
        assert succeed(throttle, now, name="bob") == 0
        with throttle.attempt(HERE, "carol", None, now) as attempt:
            attempt.succeeded()


def test_it_is_looked_at_less_and_less_often_and_again_when_its_password_is_right(state: SqliteState) -> None:
    throttle = throttling(state)
    looked_at, lines = drive(throttle, 0, 7200, every=1)
    assert looked_at[:12] == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131]
    assert {later - earlier for earlier, later in pairwise(looked_at[12:])} == {120}
    # As few lines as fail2ban does not mind: fewer than its maxretry in its findtime.
    assert lines <= 7200 / 1800 * DIGEST_BLAMED
    for moment in range(0, 7200, 600):
        assert len([each for each in looked_at if moment <= each < moment + 1800]) <= (26 if moment < 1800 else 15)
    # The password is put right: that works after two minutes at most, and then at once.
    now = looked_at[-1] + 120
    for _ in range(3):
        with throttle.attempt(HERE, "alice", None, now) as attempt:
            attempt.succeeded()
    assert fail(throttle, DIGEST, now) == 0


def test_who_guesses_by_digest_is_no_better_off(state: SqliteState) -> None:
    """At full speed, on one name and on many."""
    throttle = throttling(state)
    assert sum(fail(throttle, DIGEST, 100 + number / 1000) <= 0 for number in range(1000)) == 5
    names = [f"user {number}" for number in range(1000)]
    assert sum(fail(throttle, DIGEST, 5000 + number / 1000, name=name) <= 0 for number, name in enumerate(names)) == 5
    tried = sum(fail(throttle, DIGEST, 9000 + number / 1000, name=f"user {number % 3}") <= 0 for number in range(999))
    assert tried <= 15
    # Slowly, and on as many as it takes: what is forgiven one drive is forgiven once.
    for names in 1, 2, 3, 5, 9:
        now, tried = names * 100_000.0, 0
        for number in range(1800 // 5):
            name = f"user {number % names}"
            tried += fail(throttle, DIGEST, now + number * 5, f"10.0.0.{names}", name) <= 0
        assert tried <= 15 * DIGEST_FORGIVEN + 15


def test_at_the_same_moment_digest_is_no_way_around(state: SqliteState) -> None:
    throttle = throttling(state)
    inside, looked_at, refused = threading.Barrier(16, timeout=20), list[int](), list[int]()

    def guess(number: int) -> None:
        try:
            with throttle.attempt(HERE, "alice", None, 100):
                looked_at.append(number)
                inside.wait()
        except TooManyRequests:
            refused.append(number)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(refused) < 25 and time.monotonic() < deadline:
        threads[0].join(0.01)
    assert len(looked_at) == 15
    inside.wait()
    for thread in threads:
        thread.join(20)
    # Each has been counted, and no drive begins so many at once: the address waits, and the name.
    assert fail(throttle, DIGEST, 101) == 127
    assert fail(throttle, DIGEST, 228) == -1
    # What was sent beside it in another way is a guess as ever.
    assert fail(throttle, "x", 229) == 0


#: Names that are tried at the same moment, one wave after another.
WAVES = [
    [[name] * 40 for name in "abcdefgh"],
    [list("abcdefgh") * 5],
    [["a", "b", "c"] * 13, ["a", "b", "c"] * 13],
    [["a"] * 5, ["b"] * 5, ["c"] * 40],
    [["a"] * 4, ["a"] * 5, ["b"] * 4, ["b"] * 5, ["c"] * 5],
    [["a"] * 6, ["b"] * 6, ["c"] * 6, ["d"] * 6],
    [["a"] * 2, ["b"] * 2, list("cdefgh") * 5],
    *([[name] * size for name in "abcdefgh" for _ in range(9)] for size in range(1, 10)),
]


@pytest.mark.parametrize("waves", WAVES)
def test_at_the_same_moment_on_many_names_it_is_none_either(waves: list[list[str]], state: SqliteState) -> None:
    throttle = throttling(state)
    looked_at = 0
    for number, wave in enumerate(waves):
        with ExitStack() as under_way:
            for name in wave:
                with suppress(TooManyRequests):
                    under_way.enter_context(throttle.attempt(HERE, name, None, 100 + number / 1000))
                    looked_at += 1
    assert looked_at <= 15


def test_one_that_is_right_forgives_those_beside_it(state: SqliteState) -> None:
    throttle = throttling(state)
    with throttle.attempt(HERE, "alice", None, 100), throttle.attempt(HERE, "alice", None, 100) as right:
        right.succeeded()
    assert [fail(throttle, DIGEST, 100) for _ in range(5)] == [0, 0, -1, -1, -1]


# --- together with logins


def test_what_a_throttled_login_costs(state: SqliteState) -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules(), attempts=throttling(state))
    assert access.identify(asking(basic("alice:wonder"), 90)).principal.name == "alice"
    for number in range(5):
        with pytest.raises(Unauthorized):
            access.identify(asking(basic(f"alice:{number}"), 100))
    for guess in ("x", "wonder "):
        with pytest.raises(TooManyRequests):
            access.identify(asking(basic(f"alice:{guess}"), 100))
    assert len(wonder.asked) == 6  # nobody looked at those
    assert access.identify(asking(basic("alice:wonder"), 100)).principal.name == "alice"  # known already


def status(access: Access, field: str, now: float, address: str = HERE) -> int:
    try:
        access.identify(asking(field, now)._replace(address=address))
    except (Unauthorized, TooManyRequests) as refused:
        return refused.status
    return 200


def guessing(access: Access, now: float) -> None:
    """Somebody else, at the same address."""
    assert [status(access, basic(f"bob:{number}"), now) for number in range(7)] == [401] * 5 + [429] * 2


def test_who_has_logged_in_is_not_stopped_by_others_there(state: SqliteState) -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules(), attempts=throttling(state))
    assert status(access, basic("alice:wonder"), 0) == 200
    now = 10 * CACHE_SECONDS
    guessing(access, now)
    assert status(access, basic("alice:wonder"), now) == 200
    assert status(access, basic("DOMAIN\\alice:wonder"), now) == 200
    assert wonder.asked.count(b"wonder") == 2  # it has been verified again
    assert [status(access, basic(f"alice:{guess}"), now) for guess in ("Wonder", "")] == [429, 429]


def test_whoever_is_banned_is_not_told_what_is_right(state: SqliteState) -> None:
    """Somebody's being logged in elsewhere makes nothing out of their guesses."""
    access = Access(Directory([Listed([Account("alice", Counting("wonder"))])]), rules(), attempts=throttling(state))
    assert status(access, basic("alice:wonder"), 100, THERE) == 200
    guessing(access, 100)
    assert status(access, basic("alice:wonder"), 100) == 429
    assert status(access, basic("alice:wonder"), 100, THERE) == 200
    assert status(access, basic("alice:wonder"), 200) == 200


def test_nor_when_accounts_change(state: SqliteState) -> None:
    source = Source(Account("alice", Counting("wonder")), Account("carol", Counting("tea")))
    access = Access(Directory([source]), rules(), attempts=throttling(state))
    assert [status(access, basic(login), 0) for login in ("alice:wonder", "carol:tea")] == [200, 200]
    source.accounts["carol"], source.has_changed = Account("carol", Counting("coffee")), True
    guessing(access, 10)
    assert status(access, basic("alice:wonder"), 10) == 200
    # What was right before and is wrong now is looked at once.
    assert status(access, basic("carol:tea"), 10) == 401
    guessing(access, 2000)
    assert status(access, basic("carol:tea"), 2000) == 429
    assert status(access, basic("carol:coffee"), 2000) == 429


@pytest.mark.slow
def test_nor_when_app_passwords_do(state: SqliteState) -> None:
    app_passwords = AppPasswords(state)
    access = Access(Directory([Listed([Account("alice"), Account("bob")])]), rules(),
                    attempts=throttling(state), app_passwords=app_passwords)  # fmt: skip
    made, text = app_passwords.create("alice", "phone", 0)
    assert status(access, basic(f"alice:{text}"), 1) == 200
    app_passwords.create("bob", "any", 10)
    guessing(access, 10)
    assert status(access, basic(f"alice:{text}"), 10) == 200
    app_passwords.revoke(made.id)
    assert status(access, basic(f"alice:{text}"), 12) == 401
    guessing(access, 2000)
    assert status(access, basic(f"alice:{text}"), 2000) == 429


@pytest.mark.slow
def test_nor_who_goes_on_with_a_nonce(state: SqliteState, tmp_path: Path) -> None:
    world = World(tmp_path, account("alice", "wonder"))
    access = Access(Directory([Listed([account("alice", "wonder")])]), rules(),
                    realm="my files", digest=world.digest, attempts=throttling(state))  # fmt: skip
    nonce = world.nonces.new(1001)
    assert status(access, world.login(uri="/", nonce=nonce), 1002) == 200
    now = 1002 + 2 * CACHE_SECONDS
    guessing(access, now)
    assert status(access, world.login(uri="/", nonce=nonce, nc="00000002"), now) == 200
    assert status(access, world.login(uri="/", nonce=nonce, nc="00000003", password="x"), now) == 429
    # A replay is right but for its count (as is a stream that asks again): nobody is stopped, and nothing forgiven.
    replay = asking(world.login(uri="/", nonce=nonce), now)
    assert status(access, world.login(uri="/", nonce=nonce), now) == 401
    assert access.identify_again(replay).principal.name == "alice"
    # Not so with another one, from which nobody was right: each guess would find out whether it is.
    assert status(access, world.login(uri="/", nonce=world.nonces.new(now)), now) == 429
    world.nonces.close()


def test_a_drive_with_a_mistyped_password_costs_a_hash_and_a_count_a_minute(
    state: SqliteState, caplog: pytest.LogCaptureFixture
) -> None:
    wonder = Counting("wonder")
    access = Access(Directory([Listed([Account("alice", wonder)])]), rules(), attempts=throttling(state))
    for second in range(0, 600, 5):
        with pytest.raises(Unauthorized):
            access.identify(asking(basic("alice:wunder"), second))
    assert len(wonder.asked) == 600 / WRONG_SECONDS
    assert state.query("SELECT count(*) FROM login_failures") == [(1,)]
    assert len(caplog.records) == 1
    assert access.identify(asking(basic("alice:wonder"), 600)).principal.name == "alice"


def test_a_drive_with_a_mistyped_password_by_digest(
    state: SqliteState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it takes a new nonce each time or goes on with one."""
    world = World(tmp_path, account("alice", "wonder"), account("bob", "x"))
    nonce = world.nonces.new(1001)
    access = Access(
        Directory([Listed([account("alice", "wonder"), account("bob", "x")])]),
        rules(), realm="my files", digest=world.digest, attempts=throttling(state),
    )  # fmt: skip

    def statuses(now: float, **changed: object) -> int:
        field = world.login(uri="/", **changed)
        try:
            access.identify(asking(field, now))
        except (Unauthorized, TooManyRequests) as refused:
            return refused.status
        return 200

    drive = [statuses(1002 + n * 5, password="wunder", nonce=None if n % 2 else nonce, nc=f"{n + 1:08x}")
             for n in range(360)]  # fmt: skip
    assert set(drive) == {401, 429}
    assert drive.count(401) < 30
    assert [line for line in caplog.messages if "login failed" in line] == [
        'login failed: address=192.0.2.1 scheme=digest user="alice"'
    ] * DIGEST_BLAMED
    now = 1002 + 360 * 5
    assert statuses(now, username="bob", password="x") == 200
    assert statuses(now + 120) == 200
    world.nonces.close()

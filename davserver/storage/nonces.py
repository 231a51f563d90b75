"""Nonces of Digest logins: made of a key, and counted in a file that all workers share.

A nonce is its own proof: the time it was made, chance, and a keyed hash of both. Nothing is kept of one until a login
with it was right; so asking for nonces costs nothing, and whoever has no password cannot fill the memory.

RFC 7616 §3.4, §5.5: the count of a nonce tells a request from its replay. Counts come out of order, since clients use
several connections; so beside the highest there is a window of those just below that have come. Each nonce has a slot,
by its hash. When two share one the later takes it, and the `floor` of the slot keeps the earlier from being taken
for a new one: what was made before the floor is stale.

The file is memory mapped: a count costs no query and no disk, and is still there when every process was killed. What
the machine itself forgets (a power cut) is noticed by the boot that the file belongs to: then all nonces are new.
"""

from __future__ import annotations

import fcntl
import hmac
import mmap
import os
import secrets
import struct
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from enum import Enum

from davserver.storage.gate import flock, take

_MAGIC = b"davserver nonces 1\n"
_HEAD = struct.Struct("<19s5x32s40sQ")  # magic, key, boot, made at (milliseconds)
_HEAD_SIZE = 4096
#: Id of the nonce, floor (milliseconds), highest count; behind them the window.
_SLOT = struct.Struct("<16sQQ")
_WINDOW_BYTES = 32
_WINDOW = _WINDOW_BYTES * 8
_SLOT_SIZE = _SLOT.size + _WINDOW_BYTES
SLOTS = 16384
#: Seconds that somebody waits for a slot, which is held for microseconds.
PATIENCE = 1.0
_NONCE = struct.Struct(">Q8s16s")  # made at (milliseconds), chance, proof


class Fate(Enum):
    """What becomes of a nonce that is used."""

    GOOD = "good"
    #: It was good once: the client takes a new one without asking its user.
    STALE = "stale"
    #: That count has come before: somebody else has seen it.
    REPLAYED = "replayed"


class Nonces:
    """`folder`: the state folder. Raises OSError."""

    def __init__(self, folder: str, now: float, boot: bytes | None = None) -> None:
        boot = _this_boot() if boot is None else boot
        self._fd = os.open(os.path.join(folder, "nonces"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            size = _HEAD_SIZE + SLOTS * _SLOT_SIZE
            known = os.pread(self._fd, _HEAD.size, 0) if os.fstat(self._fd).st_size == size else b""
            if len(known) != _HEAD.size or not _is_ours(known, boot):
                os.ftruncate(self._fd, 0)
                os.ftruncate(self._fd, size)
                known = _HEAD.pack(_MAGIC, secrets.token_bytes(32), boot, _milliseconds(now))
                os.pwrite(self._fd, known, 0)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            _, self._key, _, self._began = _HEAD.unpack(known)
            self._memory = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        # The locks on the file are of this open file, which all threads share.
        self._turn = threading.Lock()

    def new(self, now: float) -> str:
        made, chance = _milliseconds(now), secrets.token_bytes(8)
        return urlsafe_b64encode(_NONCE.pack(made, chance, self._proof(made, chance))).decode()

    def made_at(self, nonce: str) -> float | None:
        """When we made it, in seconds; None: we never did."""
        found = self._parsed(nonce)
        return None if found is None else found[0] / 1000

    def use(self, nonce: str, count: int) -> Fate:
        """Count a use of a nonce of ours (`made_at`) whose login was right."""
        found = self._parsed(nonce)
        if found is None:
            return Fate.STALE
        made, identity = found
        if made < self._began:
            return Fate.STALE
        number = int.from_bytes(identity[:4], "big") % SLOTS
        offset = _HEAD_SIZE + number * _SLOT_SIZE
        with self._turn:
            if not take(self._fd, flock(fcntl.F_WRLCK, offset, 1), time.monotonic() + PATIENCE):
                return Fate.STALE  # a process was stopped right here: another nonce has another slot
            try:
                return self._count(offset, identity, made, count)
            finally:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, flock(fcntl.F_UNLCK, offset, 1))

    def close(self) -> None:
        self._memory.close()
        os.close(self._fd)

    def _count(self, offset: int, identity: bytes, made: int, count: int) -> Fate:
        holder, floor, highest = _SLOT.unpack_from(self._memory, offset)
        at = offset + _SLOT.size
        window = int.from_bytes(self._memory[at : at + _WINDOW_BYTES], "little")
        if holder != identity:
            if made <= floor:
                return Fate.STALE  # it has lost its slot, or may have
            highest, window, floor = 0, 0, made
        if count > highest:
            # Bit n: the count that is n below the highest has come.
            window = (window << min(count - highest, _WINDOW) | 1) & (1 << _WINDOW) - 1
            highest = count
        else:
            behind = highest - count
            if behind >= _WINDOW or window >> behind & 1:
                return Fate.REPLAYED
            window |= 1 << behind
        _SLOT.pack_into(self._memory, offset, identity, floor, highest)
        self._memory[at : at + _WINDOW_BYTES] = window.to_bytes(_WINDOW_BYTES, "little")
        return Fate.GOOD

    def _parsed(self, nonce: str) -> tuple[int, bytes] | None:
        try:
            made, chance, proof = _NONCE.unpack(urlsafe_b64decode(nonce))
        except (Base64Error, struct.error, ValueError):
            return None
        right = self._proof(made, chance)
        # Whatever other spellings base64 has of the same bytes, they are the same nonce: it is known by its proof.
        return (made, right) if hmac.compare_digest(proof, right) else None

    def _proof(self, made: int, chance: bytes) -> bytes:
        return hmac.digest(self._key, b"%d %b" % (made, chance), "sha256")[:16]


def _is_ours(head: bytes, boot: bytes) -> bool:
    magic, _, known, _ = _HEAD.unpack(head)
    return (magic, known) == (_MAGIC, boot.ljust(40, b"\0"))


def _milliseconds(now: float) -> int:
    return max(int(now * 1000), 1)


def _this_boot() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip()

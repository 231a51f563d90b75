"""One of several clients that lock and write the same few paths at the same time: a process of its own.

    python racer.py PORT NUMBER SEED SECONDS

Prints what it did, one request a line, as JSON for `lockhistory.Op`. What it does is random; the seed makes it so
again, but for what the others do.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from lockhistory import Op, inside, parent
from wire import Answer, Dav, lockinfo

FOLDERS = ("/d", "/d/e", "/")
FILES = ("/d/a", "/d/b", "/d/e/a", "/d/e/b", "/f")
#: Requests after which a client connects anew, and may come to another worker.
STAY = 15


class Racer:
    def __init__(self, port: int, number: int, seed: int) -> None:
        self.number, self.chance = number, random.Random(seed)
        name = f"u{number}"
        login = "Basic " + b64encode(f"{name}:{name}".encode()).decode()
        self.client = Dav("127.0.0.1", port, {"Authorization": login})
        self.count = 0
        #: Token → what was locked with it, and is still.
        self.held: dict[str, Op] = {}
        self.dead: list[tuple[str, str]] = []

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (self.with_lock if self.held and self.chance.random() < 0.7 else self.without)()
        for token, lock in list(self.held.items()):
            self.unlock(token, lock)

    def ask(self, kind: str, path: str, method: str = "", body: Any = None, **fields: str) -> tuple[Answer | None, Op]:
        self.count += 1
        if self.count % STAY == 0:
            self.client.close()
        sent = time.monotonic()
        try:
            answer = self.client(method or kind, path, body, **fields)
        except (OSError, http.client.HTTPException):
            self.client.close()
            answer = None
        return answer, Op(self.number, kind, path, sent, time.monotonic(), answer.status if answer else 0)

    def tell(self, op: Op, **more: object) -> Op:
        op = Op(**{**op.__dict__, **more})  # type: ignore[arg-type]
        print(json.dumps(op.__dict__))
        return op

    # --- without a lock

    def without(self) -> None:
        self.chance.choices(
            [self.lock, self.write, self.slow_write, self.write_with_a_dead_token, self.move, self.delete],
            [40, 25, 10, 10, 10, 5],
        )[0]()

    def lock(self) -> None:
        path = self.chance.choice(FILES + FOLDERS)
        deep, shared = path in FOLDERS and self.chance.random() < 0.5, self.chance.random() < 0.2
        answer, op = self.ask(
            "LOCK", path, body=lockinfo("shared" if shared else "exclusive"), Depth="infinity" if deep else "0",
            Timeout="Second-3600",
        )  # fmt: skip
        got = answer is not None and answer.status in (200, 201)
        tokens = (answer.token,) if answer is not None and got else ()
        op = self.tell(op, tokens=tokens, deep=deep, shared=shared, status=op.status if op.status != 207 else 423)
        if got:
            self.held[tokens[0]] = op

    def write(self, *tokens: str, path: str = "") -> None:
        path = path or self.chance.choice(FILES)
        content = f"{self.number} {self.count}"
        fields = {"If": " ".join(f"(<{token}>)" for token in tokens)} if tokens else {}
        _, op = self.ask("PUT", path, body=content, **fields)
        self.tell(op, tokens=tokens, content=content)

    def slow_write(self) -> None:
        """Its end comes when others have locked, written and gone."""
        content = f"{self.number} {self.count}"

        def blocks() -> Iterator[bytes]:
            yield content[:1].encode()
            time.sleep(self.chance.uniform(0, 0.1))  # not to wait for something: that it is slow is what is tried
            yield content[1:].encode()

        _, op = self.ask("PUT", self.chance.choice(FILES), body=blocks())
        self.tell(op, content=content)

    def write_with_a_dead_token(self) -> None:
        if self.dead:
            token, path = self.chance.choice(self.dead[-20:])
            self.write(token, path=path)

    def move(self) -> None:
        source, target = self.chance.sample(FILES, 2)
        _, op = self.ask("MOVE", source, Destination=target)
        self.tell(op, target=target)

    def delete(self) -> None:
        _, op = self.ask("DELETE", self.chance.choice(FILES))
        self.tell(op)

    # --- with one

    def with_lock(self) -> None:
        token, lock = self.chance.choice(list(self.held.items()))
        covered = [path for path in FILES if path == lock.path or (lock.deep and inside(path, lock.path))]
        doing = self.chance.choices(["read", "list", "write", "refresh", "delete", "unlock"], [30, 10, 20, 5, 2, 33])[0]
        if doing == "read" and covered:
            path = self.chance.choice(covered)
            answer, op = self.ask("GET", path)
            if answer is not None and answer.status in (200, 404):
                self.tell(op, content=answer.body.decode() if answer.status == 200 else None)
        elif doing == "list" and lock.path in FOLDERS:
            answer, op = self.ask("LIST", lock.path, "PROPFIND", b"", Depth="1")
            if answer is not None and answer.status == 207:
                self.tell(op, content=" ".join(answer.hrefs()))
        elif doing == "write" and covered:
            self.write(token, path=self.chance.choice(covered))
        elif doing == "refresh":
            _, op = self.ask("REFRESH", lock.path, "LOCK", b"", If=f"(<{token}>)", Timeout="Second-3600")
            self.tell(op, tokens=(token,))
        elif doing == "delete" and lock.path in FILES:
            _, op = self.ask("DELETE", lock.path, If=f"(<{token}>)")
            op = self.tell(op, tokens=(token,))
            if op.done or not op.status:
                self.held.pop(token)
        elif doing == "unlock":
            self.unlock(token, lock)

    def unlock(self, token: str, lock: Op) -> None:
        # Any path that it covers will do.
        path = lock.path if not lock.deep else self.chance.choice([lock.path, *FILES])
        path = path if path == lock.path or inside(path, lock.path) else lock.path
        _, op = self.ask("UNLOCK", path, Lock_Token=f"<{token}>")
        op = self.tell(op, tokens=(token,))
        if op.done or not op.status:
            self.held.pop(token)
            if lock.path in FILES:
                self.dead.append((token, lock.path))
            elif lock.deep:
                self.dead.append((token, f"{lock.path.rstrip('/')}/a" if parent(lock.path) != lock.path else "/f"))


if __name__ == "__main__":
    port, number, seed, seconds = sys.argv[1:]
    Racer(int(port), int(number), int(seed)).run(float(seconds))

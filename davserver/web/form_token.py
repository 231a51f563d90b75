"""Form tokens: the proof that a form was filled in on a page that this server made for this user.

A token is the moment it was made and a keyed hash of moment and user. Nothing is kept of it; every worker knows the
key. A page of another site may send our forms in the name of its visitor, and can read none of our pages to find one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from functools import cache

#: Seconds that a page may stand open before its form is sent.
OPEN_SECONDS = 12 * 3600


class FormTokens:
    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key`: that of all workers; asked for once. What it raises is raised here."""
        self._key = cache(key)

    def new(self, user: str, now: float) -> str:
        moment = str(int(now))
        return f"{moment}.{self._proof(user, moment)}"

    def is_good(self, token: str, user: str, now: float) -> bool:
        moment, _, proof = token.partition(".")
        if not re.fullmatch("[0-9]{1,15}", moment) or not 0 <= now - int(moment) < OPEN_SECONDS:
            return False
        return hmac.compare_digest(proof.encode("utf-8", "replace"), self._proof(user, moment).encode())

    def _proof(self, user: str, moment: str) -> str:
        return hmac.digest(self._key(), f"form\0{moment}\0{user}".encode("utf-8", "surrogatepass"), "sha256").hex()

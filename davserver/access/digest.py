"""HTTP Digest (RFC 7616): MD5 and SHA-256 with qop=auth. The Authorization field → whose login it is, and whether.

What is not that is no login: an unknown algorithm, no qop (RFC 2069), auth-int, a response that is bound to another
URI. A login that is right but for its nonce is stale, and its client repeats it with a new one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from davserver.access.access import Asking, DigestResult
from davserver.access.accounts import Account, Algorithm, Directory
from davserver.access.hashes import encoded
from davserver.storage.nonces import Fate, Nonces

#: Seconds from its making that a nonce is good for. Finder copies for hours, and cannot repeat what it streams.
NONCE_SECONDS = 12 * 3600.0
#: Seconds more for uploads alone. Finder locks before it uploads: the lock has met the stale nonce, and the upload has
#: the new one. An upload that came without is not to be lost for it.
UPLOAD_SECONDS = 24 * 3600.0
_UPLOADS = frozenset({"PUT", "PATCH"})

#: name=token or name="quoted"; a comma may stand in quotes, as in the URIs that Windows sends.
_PARAMETER = re.compile(r'\s*([A-Za-z0-9*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|$)', re.DOTALL)
_HEX = re.compile(r"[0-9a-f]+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


@dataclass(frozen=True, slots=True)
class DigestField:
    """What stands in the field, as it was sent; quotes are gone, and backslashes before quotes."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm
    cnonce: str
    nc: str
    count: int

    @classmethod
    def parse(cls, field: str) -> DigestField | None:
        """None for what is no complete Digest login of a kind that is offered. Raises nothing."""
        scheme, _, rest = field.strip().partition(" ")
        if scheme.lower() != "digest":
            return None
        found = _parameters(rest)
        if found is None:
            return None
        name = _name(found)
        algorithm = _ALGORITHMS.get(found.get("algorithm", "MD5").upper())
        nc, cnonce = found.get("nc", ""), found.get("cnonce", "")
        if name is None or algorithm is None or found.get("qop", "").lower() != "auth":
            return None
        # RFC 7616 §3.4: eight hexadecimal digits, from one on.
        if not re.fullmatch("[0-9a-fA-F]{8}", nc) or int(nc, 16) == 0 or not cnonce:
            return None
        response = found.get("response", "").lower()
        if not _HEX.fullmatch(response):
            return None
        return cls(
            name, found.get("realm", ""), found.get("nonce", ""), found.get("uri", ""),
            response, algorithm, cnonce, nc, int(nc, 16),
        )  # fmt: skip

    def expected(self, hashed: str, method: str) -> str:
        """RFC 7616 §3.4.1: the response of who knows the HA1."""
        ha2 = self.algorithm.hash(encoded(f"{method}:{self.uri}"))
        return self.algorithm.hash(encoded(f"{hashed}:{self.nonce}:{self.nc}:{self.cnonce}:auth:{ha2}"))


_ALGORITHMS = {algorithm.value: algorithm for algorithm in Algorithm}


class Digest:
    """Digest logins of one realm."""

    def __init__(self, directory: Directory, nonces: Nonces, realm: str) -> None:
        self._directory, self._nonces, self._realm = directory, nonces, realm

    def challenges(self, now: float, *, stale: bool) -> list[str]:
        """One for each algorithm that all users can answer to, all with one nonce: requests merges them."""
        algorithms: Sequence[Algorithm] = self._directory.algorithms()
        if not algorithms:
            return []
        nonce = self._nonces.new(now)
        end = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self._realm}", nonce="{nonce}", algorithm={algorithm.value}, qop="auth", '
            f"charset=UTF-8{end}"
            for algorithm in algorithms
        ]

    def verify(self, field: str, asking: Asking) -> DigestResult:
        login = DigestField.parse(field)
        if login is None:
            return DigestResult("")
        account = self._account(login)
        hashed = "" if account is None else account.digests.get(login.algorithm, "")
        # An unknown user costs what a known one costs.
        right = hmac.compare_digest(login.expected(hashed, asking.method), login.response)
        wrong = DigestResult(_bare(login.username), login.nonce)
        made = self._nonces.made_at(login.nonce)
        if not (right and hashed and account is not None and login.realm == self._realm):
            return wrong
        if not _same_target(login.uri, asking.target):
            return wrong
        patience = NONCE_SECONDS + (UPLOAD_SECONDS if asking.method in _UPLOADS else 0)
        if made is None or not -60 <= asking.now - made < patience:
            return wrong._replace(stale=True)
        fate = self._nonces.use(login.nonce, login.count)
        if fate is Fate.GOOD:
            return DigestResult(account.name, login.nonce, account)
        # RFC 7616 §3.4: a replay gets a new nonce too, which only who knows the password can answer.
        return wrong._replace(stale=True)

    def _account(self, login: DigestField) -> Account | None:
        """By the name as it was sent, or without the domain that Windows puts before it."""
        found = self._directory.find(login.username)
        return self._directory.find(_bare(login.username)) if found is None else found


def _bare(name: str) -> str:
    return name.rpartition("\\")[2]


def _parameters(text: str) -> dict[str, str] | None:
    """By their names in lower case; None where it is malformed, or one comes twice."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            return found if not text[at:].strip(" ,\t") else None
        name = match[1].lower()
        if name in found:
            return None
        # A backslash quotes a quote; before anything else it is Windows' own: DOMAIN\user.
        found[name] = match[3] if match[2] is None else match[2].replace('\\"', '"')
        at = match.end()
    return found


def _name(found: dict[str, str]) -> str | None:
    """`username`, or `username*` (RFC 7616 §3.4, RFC 8187): not both."""
    plain, extended = found.get("username"), found.get("username*")
    if (plain is None) == (extended is None):
        return None
    if extended is not None:
        charset, _, text = extended.partition("''")
        return unquote(text, errors="replace") if charset.upper() == "UTF-8" else None
    if plain is None:
        return None
    try:
        return plain.encode("latin-1").decode("utf-8")  # as charset=UTF-8 asks for
    except UnicodeError:
        return plain


def _same_target(uri: str, target: str) -> bool:
    """Is the response bound to what is asked for (RFC 7616 §3.4.6)? With and without the host, in any encoding."""
    if uri == target:
        return True
    return _plain(uri) == _plain(target)


def _plain(uri: str) -> tuple[bytes, bytes]:
    absolute = _ABSOLUTE.match(uri)
    path, _, query = uri[absolute.end() if absolute else 0 :].partition("?")
    # The decoded path is compared and not used: what is done is done to the request-target.
    return unquote_to_bytes(path or "/"), unquote_to_bytes(query)

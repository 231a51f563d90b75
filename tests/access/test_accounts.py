"""Accounts of several sources, and files of them that change."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from serving import QUICK

from davserver.access.account_files import AccountFile, htdigest, htpasswd
from davserver.access.accounts import Account, Algorithm, DigestSecret, Directory, Listed, ha1
from davserver.access.hashes import PasswordHash
from davserver.protocol.locks import Principal

WONDER, SESAME = PasswordHash(QUICK.hash("wonder")), PasswordHash(QUICK.hash("sesame"))


def test_an_account_has_its_name_where_it_has_no_other() -> None:
    assert Account("alice").principal == Principal("alice")
    assert Account("alice").principal.display_name == "alice"
    assert Account("alice", display_name="Alice Smith").principal.display_name == "Alice Smith"


def test_an_earlier_source_comes_first_and_a_later_one_adds() -> None:
    directory = Directory(
        [
            Listed([Account("alice", None, "Alice", frozenset({"a"})), Account("bob", WONDER)]),
            Listed([Account("alice", WONDER, "Other", frozenset({"b"}), {Algorithm.MD5: "0" * 32})]),
            Listed([Account("bob", SESAME)]),
        ],
        {"c": ["alice", "dora"]},
    )
    alice = directory.find("alice")
    assert alice == Account("alice", WONDER, "Alice", frozenset("abc"), {Algorithm.MD5: "0" * 32})
    assert directory.find("bob") == Account("bob", WONDER)
    assert directory.find("dora") is None
    assert directory.vouched("dora") == Account("dora", groups=frozenset("c"))
    assert directory.names() == ["alice", "bob"]
    assert directory.members(["@c", "eve", "@b", "@none"]) == {"alice", "dora", "eve"}


def test_logins_are_possible_where_there_is_somebody_to_ask() -> None:
    assert not Directory()
    assert Directory([Listed()])
    assert Directory(proxied=True)


def test_an_unknown_name_is_compared_with_what_others_have() -> None:
    directory = Directory([Listed([Account("alice", WONDER), Account("bob", SESAME), Account("carol")])])
    chosen = {name: directory.decoy(name) for name in map(str, range(50))}
    assert set(chosen.values()) == {WONDER, SESAME}
    assert all(directory.decoy(name) is credential for name, credential in chosen.items())
    lonely = Directory([Listed([Account("carol")])]).decoy("x")
    assert isinstance(lonely, PasswordHash)
    assert lonely.text.startswith("$argon2id$")


def test_digest_is_offered_with_what_everybody_can_answer_to() -> None:
    both = {Algorithm.MD5: "0" * 32, Algorithm.SHA_256: "0" * 64}
    assert Directory([Listed([Account("a", digests=both), Account("b")])]).algorithms() == [
        Algorithm.SHA_256,
        Algorithm.MD5,
    ]
    old = Account("c", digests={Algorithm.MD5: "0" * 32})
    assert Directory([Listed([Account("a", digests=both), old])]).algorithms() == [Algorithm.MD5]
    assert Directory([Listed([Account("a")])]).algorithms() == []


@pytest.mark.parametrize("text", ["", "0" * 31, "g" * 32, "0" * 65, "A" * 64])
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        Algorithm.of(text)


def test_htpasswd_lines(caplog: pytest.LogCaptureFixture) -> None:
    text = f"# comment\n\nalice:{WONDER.text}\nbob:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\ncarol:plain\nbroken\n:\n"
    with caplog.at_level(logging.WARNING, "davserver"):
        accounts = htpasswd(text)
    assert accounts == {
        "alice": Account("alice", WONDER),
        "bob": Account("bob", PasswordHash("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")),
    }
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "htpasswd, line 5: carol cannot log in: no hash of argon2, bcrypt, apr1 or {SHA}"
    assert "plain" not in "".join(told)
    assert len(told) == 3


def test_htdigest_lines(caplog: pytest.LogCaptureFixture) -> None:
    md5, sha = (ha1(algorithm, "alice", "files", "wonder") for algorithm in (Algorithm.MD5, Algorithm.SHA_256))
    text = f"alice:files:{md5.upper()}\nalice:other:{'0' * 32}\nalice:files:{sha}\nbob:files:junk\nshort:files\n"
    with caplog.at_level(logging.WARNING, "davserver"):
        accounts = htdigest("files")(text)
    assert list(accounts) == ["alice"]
    alice = accounts["alice"]
    assert alice.digests == {Algorithm.MD5: md5, Algorithm.SHA_256: sha}
    assert alice.credential == DigestSecret("alice", "files", Algorithm.MD5, md5)
    assert alice.credential.matches(b"wonder")
    assert not alice.credential.matches(b"Wonder")
    assert [record.getMessage() for record in caplog.records] == [
        "htdigest, line 4: bob cannot log in: no MD5 or SHA-256 in hexadecimal"
    ]


@pytest.mark.parametrize("name", ["@ops", "everyone", "", "a\x7f", 'a"b', "DOMAIN\\alice", "jose\u0301"])
def test_a_name_that_is_taken_for_something_else_is_nobodys(name: str, caplog: pytest.LogCaptureFixture) -> None:
    hashed = ha1(Algorithm.MD5, name, "files", "wonder")
    for accounts in (
        htpasswd(f"{name}:{WONDER.text}\nbob:{WONDER.text}\n"),
        htdigest("files")(f"{name}:files:{hashed}\nbob:files:{hashed}\n"),
    ):
        assert list(accounts) == ["bob"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("line 1" in line and ("cannot be a user name" in line or "NFC" in line) for line in told)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{WONDER.text}\n")
    file = AccountFile(str(path), htpasswd)
    assert not file.changed()
    path.write_text(f"alice:{SESAME.text}\nbob:{WONDER.text}\n")
    assert file.changed()
    assert not file.changed()
    assert sorted(file.names()) == ["alice", "bob"]
    assert file.find("alice") == Account("alice", SESAME)
    # A successor of the same size and time is another file.
    other = tmp_path / "other"
    other.write_text(f"alicf:{SESAME.text}\nbob:{WONDER.text}\n")
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    other.replace(path)
    assert file.changed()
    assert file.find("alice") is None


@pytest.mark.parametrize("damage", ["gone", "binary"])
def test_a_file_that_cannot_be_read_any_more_changes_nothing(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{WONDER.text}\n")
    file = AccountFile(str(path), htpasswd)
    path.unlink()
    if damage == "binary":
        path.write_bytes(b"\xff\xfe")
    assert not file.changed()
    assert not file.changed()
    assert file.find("alice") is not None
    assert len([record for record in caplog.records if "stay as they were" in record.getMessage()]) == 1
    path.write_text("")
    assert file.changed()
    assert file.find("alice") is None


def test_at_the_start_it_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AccountFile(str(tmp_path / "none"), htpasswd)


def test_the_directory_knows_when_any_source_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("")
    directory = Directory([Listed([Account("alice")]), AccountFile(str(path), htpasswd)])
    assert not directory.changed()
    path.write_text(f"bob:{SESAME.text}\n")
    assert directory.changed()
    assert directory.decoy("x") == SESAME
    assert not directory.changed()

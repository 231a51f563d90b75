"""LibreOffice: two people lock, read, save and renew .odt, .docx and .xlsx, through restarts and broken locks.

Each has a LibreOffice without a screen and a profile of their own. What the first holds the second must be told, with
the name; and nothing that was typed may be lost, whatever happens to the server or to the lock meanwhile.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests
from lxml import etree
from office import Office, OfficeError
from realclients import CERTIFICATE, PASSWORD, REALM, TLS, anonymous, configure, free_port, run, trusting
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from serving import Process

pytestmark = pytest.mark.slow

#: Where each kind of document keeps its text, and what LibreOffice calls the kind.
KINDS = {
    "odt": ("content.xml", "swriter", "writer8"),
    "docx": ("word/document.xml", "swriter", "MS Word 2007 XML"),
    "xlsx": ("xl/sharedStrings.xml", "scalc", "Calc MS Excel 2007 XML"),
}

LOCKDISCOVERY = '<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>'


@pytest.fixture(scope="module")
def trusts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """LibreOffice trusts what the system trusts: what its command stands behind, where ours is to be among it."""
    return trusting(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory, trusts: list[str]) -> Iterator[Office]:
    with Office(tmp_path_factory.mktemp("ada"), "Ada", "Hölder", before=trusts) as office:
        yield office


@pytest.fixture(scope="module")
def ben(tmp_path_factory: pytest.TempPathFactory, trusts: list[str]) -> Iterator[Office]:
    with Office(tmp_path_factory.mktemp("ben"), "Ben", "Second", before=trusts) as office:
        yield office


@pytest.fixture(scope="module")
def documents(ada: Office, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: a document that says "first", as LibreOffice writes it."""
    folder = tmp_path_factory.mktemp("documents")
    made = {kind: folder / f"document.{kind}" for kind in KINDS}
    for kind, file in made.items():
        _, module, filter_name = KINDS[kind]
        ada("create", file.as_uri(), kind=module, text="first", filter_name=filter_name)
        ada("close", file.as_uri())
        assert says(file, "first")
    return made


def says(file: Path, text: str) -> bool:
    with zipfile.ZipFile(file) as archive:
        return text in archive.read(KINDS[file.suffix[1:]][0]).decode()


@dataclass(frozen=True)
class Served:
    """A server, and who Ada and Ben are to it."""

    server: Process
    scheme: str = "http"
    logins: bool = False
    scheme_of_logins: type[HTTPBasicAuth | HTTPDigestAuth] = HTTPBasicAuth

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.port}/"

    @property
    def ada(self) -> list[tuple[str, str]]:
        return [("Jürgen", PASSWORD)] if self.logins else []

    @property
    def ben(self) -> list[tuple[str, str]]:
        return [("alice", PASSWORD)] if self.logins else []

    @property
    def holder(self) -> str:
        """What Ada is called."""
        return "Jürgen" if self.logins else "Ada Hölder"

    def ask(self, method: str, url: str, **options: object) -> requests.Response:
        """As Ben, but with another program."""
        auth = self.scheme_of_logins("alice", PASSWORD) if self.logins else None
        return requests.request(method, url, auth=auth, verify=str(CERTIFICATE), timeout=20, **options)  # type: ignore[arg-type]

    def holders(self, url: str) -> list[str]:
        """Who holds locks on it, as everybody is told."""
        answer = self.ask("PROPFIND", url, data=LOCKDISCOVERY, headers={"Depth": "0"})
        assert answer.status_code == 207, answer.text
        return ["".join(owner.itertext()) for owner in etree.fromstring(answer.content).iter("{DAV:}owner")]


@pytest.fixture(scope="module", params=["anonymous", "basic", "digest", "tls"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, trusts: list[str]
) -> Iterator[Served]:
    """`tls`: with Basic logins, as it is where there is TLS."""
    folder = tmp_path_factory.mktemp("served")
    if request.param == "tls" and not trusts:
        pytest.skip("only root may mount, over a file of trusted certificates (Debian: ca-certificates)")
    if request.param == "anonymous":
        config = anonymous(folder)
    else:
        digest = request.param == "digest"
        auth = {"digest": digest, "basic": not digest}
        config = configure(folder, auth=auth, tls=TLS if request.param == "tls" else {})
    with Process(folder, "-c", str(config)) as server:
        yield Served(
            server,
            scheme="https" if request.param == "tls" else "http",
            logins=request.param != "anonymous",
            scheme_of_logins=HTTPDigestAuth if request.param == "digest" else HTTPBasicAuth,
        )


def edit_session(served: Served, ada: Office, ben: Office, kind: str, document: Path) -> None:
    """Ada opens a document, Ben finds it locked, by Ada, and reads it; she saves and closes; then he edits it."""
    url = f"{served.url}session.{kind}"
    file = served.server.root / f"session.{kind}"
    shutil.copy(document, file)
    opened = ada("open", url, *served.ada)
    assert opened.value == {"readonly": False, "text": "first"}
    assert all("Realm" in each for each in opened.asked)
    names = served.holders(url)
    assert len(names) == 1
    assert names[0].removeprefix("LibreOffice - ") == served.holder
    refused = served.ask("PUT", url, data=b"overwritten")
    assert refused.status_code == 423
    assert served.holder in refused.text

    found = ben("open", url, *served.ben)
    assert found.value == {"readonly": True, "text": "first"}
    told = [each for each in found.asked if each["request"] == "LockedDocumentRequest"]
    assert [each["UserInfo"] for each in told] == [served.holder]
    ben("write", url, text="by Ben")
    with pytest.raises(OfficeError):
        ben("save", url)
    ben("close", url)

    for text in ("second: äöü €", "third & <last>"):
        ada("write", url, text=text)
        ada("save", url)
        assert len(served.holders(url)) == 1
    ada("close", url)
    assert served.holders(url) == []
    again = ben("open", url, *served.ben)
    assert again.value == {"readonly": False, "text": "third & <last>"}
    assert not [each for each in again.asked if each["request"] == "LockedDocumentRequest"]
    ben("close", url)
    assert served.holders(url) == []
    assert says(file, "third &amp; &lt;last&gt;")
    assert not list(served.server.root.glob(".~lock*"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_session(kind: str, served: Served, ada: Office, ben: Office, documents: dict[str, Path]) -> None:
    edit_session(served, ada, ben, kind, documents[kind])


def test_a_certificate_that_is_not_trusted(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    """So what the sessions over TLS show is worth something."""
    other = CERTIFICATE.with_name("two.pem")
    tls = {"cert": str(other), "key": str(other.with_suffix(".key"))}
    with Process(tmp_path, "-c", str(anonymous(tmp_path, tls=tls))) as server:
        shutil.copy(documents["odt"], server.root / "f.odt")
        with pytest.raises(OfficeError):
            ada("open", f"https://127.0.0.1:{server.port}/f.odt")
        assert not any("/f.odt" in line for line in server.output)


def test_who_mistypes_a_password_is_asked_again(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    with Process(tmp_path, "-c", str(configure(tmp_path))) as server:
        url = f"{server.url}f.odt"
        shutil.copy(documents["odt"], server.root / "f.odt")
        opened = ada("open", url, ("alice", "wrong"), ("alice", PASSWORD))
        assert opened.value == {"readonly": False, "text": "first"}
        assert [each["Realm"] for each in opened.asked][:2] == [REALM, REALM]
        ada("close", url)


def test_who_knows_no_password_sees_nothing(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    with Process(tmp_path, "-c", str(configure(tmp_path))) as server:
        shutil.copy(documents["odt"], server.root / "f.odt")
        with pytest.raises(OfficeError):
            ada("open", f"{server.url}f.odt", ("alice", "wrong"))
        assert not any('" 200 ' in line for line in server.output if "OPTIONS" not in line)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everybody's."""
    folder = tmp_path_factory.mktemp("shared")
    with Process(folder, "-c", str(anonymous(folder))) as server:
        yield Served(server)


NAMES = [
    "a b.odt", "Müller ß.odt", "R&D.odt", "Q & A.odt", "no #1.odt", "100% sure.odt", "%41.odt", "a+b,c=d@e.odt",
    "semi;colon.odt", "it's (1)!~*$.odt", "日本.odt", "[x]{y}^|`.odt", "what?.odt", "a:b.odt", "back\\slash.odt",
    'a "b" <c>.odt',
]  # fmt: skip


def test_every_name_it_lists_it_opens_locks_and_saves(shared: Served, ada: Office, documents: dict[str, Path]) -> None:
    """Through what its own dialog shows, in a folder whose name has it all, too."""
    folder = shared.server.root / "names"
    inner = folder / "dir & ü #1 100%"
    inner.mkdir(parents=True)
    copies = {*[folder / name for name in NAMES], *[inner / name for name in NAMES[:4]]}
    for file in copies:
        shutil.copy(documents["odt"], file)
    listed = ada("list", f"{shared.url}names/").value
    (below,) = [url for url in listed if url.endswith("/")]
    urls = [url for url in listed if url != below] + ada("list", below).value
    files = {folder / unquote(url.removeprefix(f"{shared.url}names/")): url for url in urls}
    assert set(files) == copies
    for number, (file, url) in enumerate(files.items()):
        assert ada("open", url).value == {"readonly": False, "text": "first"}, url
        href = shared.url + quote(str(file.relative_to(shared.server.root)))
        assert shared.holders(href) == ["LibreOffice - Ada Hölder"], url
        ada("write", url, text=f"saved {number}")
        ada("save", url)
        ada("close", url)
        assert shared.holders(href) == [], url
        assert says(file, f"saved {number}"), url


@pytest.mark.parametrize("name", ["copy of it.odt", "Zweite Fassung ä & #2 50%.odt"])
def test_save_as(name: str, shared: Served, ada: Office, ben: Office, documents: dict[str, Path]) -> None:
    """The lock goes from the old name to the new one, which it makes."""
    shutil.copy(documents["odt"], shared.server.root / "old.odt")
    old, new = f"{shared.url}old.odt", shared.url + quote(name, safe="&")
    ada("open", old)
    ada("write", old, text="under another name")
    ada("save_as", old, target=new)
    assert shared.holders(old) == []
    assert shared.holders(new) == ["LibreOffice - Ada Hölder"]
    assert says(shared.server.root / name, "under another name")
    assert says(shared.server.root / "old.odt", "first")
    assert ben("open", new).value["readonly"] is True
    ben("close", new)
    ada("write", new, text="and once more")
    ada("save", new)
    ada("close", new)
    assert shared.holders(new) == []
    assert says(shared.server.root / name, "and once more")


def test_who_may_only_read_is_told_so(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    rules = [{"path": "/", "who": "authenticated", "allow": "r"}]
    with Process(tmp_path, "-c", str(configure(tmp_path, rules=rules))) as server:
        served = Served(server, logins=True)
        shutil.copy(documents["odt"], server.root / "f.odt")
        url = f"{server.url}f.odt"
        assert ada("open", url, *served.ada).value["text"] == "first"
        assert served.holders(url) == []
        ada("write", url, text="second")
        with pytest.raises(OfficeError):
            ada("save", url)
        ada("close", url)
        assert says(server.root / "f.odt", "first")
        assert not any('"LOCK' in line and '" 200 ' in line for line in server.output)


def eventually(seen: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def test_it_renews_its_lock(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    """It does when 30 s are left; here it has little more to begin with."""
    locks = dict.fromkeys(("min_timeout", "default_timeout", "max_timeout"), "33s")
    with Process(tmp_path, "-c", str(anonymous(tmp_path, locks=locks))) as server:
        served, url = Served(server), f"{server.url}f.odt"
        shutil.copy(documents["odt"], server.root / "f.odt")
        ada("open", url)
        before = lock_ids(server)
        eventually(lambda: len([line for line in server.output if '"LOCK /f.odt" 200' in line]) >= 3)
        assert lock_ids(server) == before
        assert served.ask("PUT", url, data=b"x").status_code == 423
        ada("write", url, text="renewed")
        ada("save", url)
        ada("close", url)
        assert served.holders(url) == []
        assert says(server.root / "f.odt", "renewed")


def admin(server: Process, *command: str) -> str:
    """What `davserver` prints to who may read the state."""
    where = ("--state", str(server.state), "--directory", str(server.root))
    done = run(sys.executable, "-m", "davserver", *command, *where)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lock_ids(server: Process) -> list[int]:
    return [lock["id"] for lock in json.loads(admin(server, "locks", "list", "--json"))]


def test_a_save_after_the_server_was_killed(
    ada: Office, ben: Office, tmp_path: Path, documents: dict[str, Path]
) -> None:
    """With kill -9, and started again where it was, while the document is open. (A save while there is no server would
    show nothing of ours: LibreOffice 7.4 ends itself over it.)"""
    with Process(tmp_path, "-c", str(anonymous(tmp_path)), "--port", str(free_port())) as server:
        served, url = Served(server), f"{server.url}f.docx"
        file = server.root / "f.docx"
        shutil.copy(documents["docx"], file)
        ada("open", url)
        before = lock_ids(server)
        for text in ("saved after the first end", "saved after the second end"):
            server.kill()
            ada("write", url, text=text)
            server.start()
            assert lock_ids(server) == before
            found = ben("open", url)
            assert found.value["readonly"] is True
            assert [each["UserInfo"] for each in found.asked] == ["Ada Hölder"]
            ben("close", url)
            ada("save", url)
            assert says(file, text)
        ada("close", url)
        assert served.holders(url) == []


def test_a_save_after_the_lock_was_broken(ada: Office, tmp_path: Path, documents: dict[str, Path]) -> None:
    """By the administrator. As nobody has written since, nothing stands against the save."""
    with Process(tmp_path, "-c", str(anonymous(tmp_path))) as server:
        served, url = Served(server), f"{server.url}f.xlsx"
        file = server.root / "f.xlsx"
        shutil.copy(documents["xlsx"], file)
        ada("open", url)
        admin(server, "locks", "break", str(lock_ids(server)[0]), "--reason", "gone for lunch")
        assert served.holders(url) == []
        ada("write", url, text="after lunch")
        ada("save", url)
        ada("close", url)
        assert says(file, "after lunch")
        assert served.holders(url) == []


def test_a_save_after_the_lock_was_broken_and_another_wrote(
    ada: Office, ben: Office, tmp_path: Path, documents: dict[str, Path]
) -> None:
    """It is refused, for it would undo what the other saved; what was typed can still be saved beside it."""
    with Process(tmp_path, "-c", str(anonymous(tmp_path))) as server:
        served, url, beside = Served(server), f"{server.url}f.odt", f"{server.url}mine.odt"
        file = server.root / "f.odt"
        shutil.copy(documents["odt"], file)
        ada("open", url)
        admin(server, "locks", "break", str(lock_ids(server)[0]), "--reason", "gone for lunch")
        assert ben("open", url).value["readonly"] is False
        ben("write", url, text="by Ben")
        ben("save", url)
        ada("write", url, text="by Ada")
        for ben_is_here in (True, False):
            with pytest.raises(OfficeError):
                ada("save", url)
            assert says(file, "by Ben")
            if ben_is_here:
                assert served.holders(url) == ["LibreOffice - Ben Second"]
                ben("close", url)
        ada("save_as", url, target=beside)
        ada("close", beside)
        assert says(server.root / "mine.odt", "by Ada")
        assert says(file, "by Ben")
        assert lock_ids(server) == []

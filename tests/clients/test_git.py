"""git over WebDAV (git-http-push): push under a lock, clone, fetch, delete a branch, refused where it must be."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from realclients import run, tool
from sites import NAMES, Site, sums, tree
from wire import lockinfo

pytestmark = pytest.mark.slow


class Git:
    """Somebody who works with the repository `repo.git` of a site."""

    def __init__(self, site: Site, home: Path) -> None:
        self._program = tool("git")
        if not (Path(run(self._program, "--exec-path").stdout.strip()) / "git-http-push").exists():
            pytest.skip("git has no git-http-push here")
        home.mkdir()
        self.home = home
        self.environ = {
            "HOME": str(home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@example.org", "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@example.org", "GIT_SSL_CAINFO": str(site.certificate or ""),
        }  # fmt: skip
        login = f"{site.name}:{quote(site.password)}@" if site.name else ""
        self.remote = f"{site.url.replace('://', f'://{login}')}repo.git"

    def attempt(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run(self._program, *arguments, cwd=cwd or self.home, **self.environ)

    def __call__(self, *arguments: str, cwd: Path | None = None) -> str:
        done = self.attempt(*arguments, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout


def repository(site: Site, git: Git) -> Path:
    """An empty one, made as its manual says for a server that knows nothing of git."""
    bare = site.root / "repo.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git("update-server-info", cwd=bare)
    return bare


def commit(git: Git, work: Path, *, text: str) -> None:
    (work / "file.txt").write_text(text)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", text, cwd=work)


@pytest.mark.parametrize("site", ["anonymous", "login", "login over TLS"], indirect=True)
def test_two_people_push_and_fetch(site: Site, tmp_path: Path) -> None:
    jane, bob = Git(site, tmp_path / "jane"), Git(site, tmp_path / "bob")
    bare, work = repository(site, jane), jane.home / "work"
    jane("init", "--quiet", "--initial-branch=main", str(work))
    tree(work)
    for number in range(3):
        commit(jane, work, text=f"change {number}")
    jane("push", jane.remote, "main", cwd=work)
    jane("fsck", "--strict", cwd=bare)
    assert jane("rev-parse", "main", cwd=bare) == jane("rev-parse", "main", cwd=work)
    assert site.asked('"LOCK /repo.git/refs/heads/main" 201')
    assert site.asked('"UNLOCK /repo.git/refs/heads/main" 204')

    bob("clone", "--quiet", bob.remote, "work")
    theirs = bob.home / "work"
    assert {name: sums(theirs)[name] for name in (*NAMES, "file.txt")} == {
        name: sums(work)[name] for name in (*NAMES, "file.txt")
    }
    commit(bob, theirs, text="bob's")
    bob("push", "origin", "main:main", "main:refs/heads/another", cwd=theirs)
    # Jane does not have that: her push would lose it, and is refused.
    commit(jane, work, text="jane's")
    assert jane.attempt("push", jane.remote, "main", cwd=work).returncode != 0
    assert bob("rev-parse", "main", cwd=bare) == bob("rev-parse", "main", cwd=theirs)
    jane("pull", "--quiet", "--rebase", "-X", "theirs", jane.remote, "main", cwd=work)
    jane("push", jane.remote, "main", cwd=work)
    jane("push", jane.remote, "--delete", "another", cwd=work)
    assert bob("ls-remote", "--heads", "origin", cwd=theirs).split()[1::2] == ["refs/heads/main"]
    bob("fetch", "--quiet", "origin", cwd=theirs)
    assert bob("rev-parse", "origin/main", cwd=theirs) == jane("rev-parse", "main", cwd=work)
    jane("fsck", "--strict", cwd=bare)


@pytest.mark.parametrize("site", ["anonymous", "login"], indirect=True)
def test_a_branch_that_somebody_has_locked_is_not_pushed_to(site: Site, tmp_path: Path) -> None:
    jane = Git(site, tmp_path / "jane")
    bare, work = repository(site, jane), jane.home / "work"
    jane("init", "--quiet", "--initial-branch=main", str(work))
    commit(jane, work, text="one")
    jane("push", jane.remote, "main", cwd=work)
    before = jane("rev-parse", "main", cwd=bare)
    curl = (tool("curl"), "-sS", "-u", f"{site.name}:{site.password}")
    locked = run(
        *curl, "-X", "LOCK", "--data-binary", "@-", "-o", os.devnull, "-w", "%header{lock-token}",
        f"{site.url}repo.git/refs/heads/main", stdin=lockinfo().decode(),
    )  # fmt: skip
    commit(jane, work, text="two")
    refused = jane.attempt("push", jane.remote, "main", cwd=work)
    assert refused.returncode != 0
    assert "lock" in refused.stderr
    assert jane("rev-parse", "main", cwd=bare) == before
    assert run(*curl, "-f", "-X", "UNLOCK", "-H", f"Lock-Token: {locked.stdout}",
               f"{site.url}repo.git/refs/heads/main").returncode == 0  # fmt: skip
    jane("push", jane.remote, "main", cwd=work)
    assert jane("rev-parse", "main", cwd=bare) == jane("rev-parse", "main", cwd=work)


@pytest.mark.parametrize("site", ["login"], indirect=True)
def test_of_several_who_push_at_once_one_wins(site: Site, tmp_path: Path) -> None:
    """It is their locks that keep them apart: nobody's commit is written over, and the repository is whole."""
    people = [Git(site, tmp_path / name) for name in ("jane", "bob", "carol", "dave")]
    jane = people[0]
    bare, work = repository(site, jane), jane.home / "work"
    jane("init", "--quiet", "--initial-branch=main", str(work))
    commit(jane, work, text="one")
    jane("push", jane.remote, "main", cwd=work)
    for turn in range(3):
        copies = [person.home / f"copy{turn}" for person in people]
        for person, copy in zip(people, copies, strict=True):
            person("clone", "--quiet", "--branch", "main", person.remote, str(copy))
            commit(person, copy, text=f"{person.home.name} {turn}")
        with ThreadPoolExecutor(len(people)) as pool:
            pushes = [
                pool.submit(person.attempt, "push", "origin", "main", cwd=copy)
                for person, copy in zip(people, copies, strict=True)
            ]
        (winner,) = (copy for copy, push in zip(copies, pushes, strict=True) if push.result().returncode == 0)
        assert jane("rev-parse", "main", cwd=bare) == jane("rev-parse", "main", cwd=winner)
        jane("fsck", "--strict", cwd=bare)

"""In a container: what is settled before a command runs. The image's entry point (`python -m davserver.container`).

A container is given its user, its umask, its time zone and its folders by people who did not make the image. So this
takes them over (PUID, PGID, UMASK, TZ), and whatever does not fit together is one sentence that names the user and the
folder, before anything is served.

What the image presets (docker/defaults.yaml, named by DAVSERVER_DEFAULTS) ranks below what people set.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from typing import NoReturn

from davserver.cli import command_line, main
from davserver.operations.health import try_writing
from davserver.settings import Settings, SettingsError, load

#: Who the server runs as when it is started as root and not told otherwise.
_UID, _GID = 1000, 1000
#: Where in the state folder the hash of the password that was made up is kept, so that it holds until the state goes.
_MADE_UP = "admin-password"
_ADMIN = "admin"
#: Of a volume without a name Docker and Podman make up one: it goes with its container, or is hard to find again.
_NAMELESS = re.compile(r"/volumes/[0-9a-f]{64}/_data$")


def start(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Prepare, then run the command."""
    try:
        _take_umask(environ.get("UMASK"))
        time.tzset()
        serves = arguments[:1] not in [[name] for name in command_line()[1] if name != "serve"]
        helps = not {"-h", "--help"}.isdisjoint(arguments)
        if serves and not helps:
            _prepare(environ)
        else:
            _take_user(environ, None)
    except SettingsError as error:
        print(f"davserver: {error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    os.dup2(1, 2)  # the log of a container is its standard output
    return main(arguments)


def _prepare(environ: MutableMapping[str, str]) -> None:
    """For `serve`. Raises SettingsError."""
    # Only whether there are users matters here: no hash of theirs is worth the time.
    settings = load(file=None, environ=environ, flags={}, hash_password=lambda _: "$argon2id$")
    state = settings.state
    if state is None:
        raise SettingsError("In a container the state needs a folder of its own: set state, like /state.")
    _take_user(environ, settings)
    _require_writable(state, "locks and properties")
    for share in settings.shares.values():
        if not share.read_only:
            _require_writable(share.folder, "files", may_be_read_only=True)
    warning = volume_warning(state)
    if warning is not None:
        print(f"davserver: WARNING: {warning}", file=sys.stderr)
    if not settings.has_logins and not settings.rules and settings.anonymous is None:
        environ["DAVSERVER_USERS__ADMIN__PASSWORD"] = _admin(os.path.join(state, _MADE_UP))


# --- umask and user


def _take_umask(text: str | None) -> None:
    if text:
        if not re.fullmatch(r"0?[0-7]{3}", text):
            raise SettingsError(f"UMASK={text} is no umask: write three octal digits, like 022.")
        os.umask(int(text, 8))


def _take_user(environ: MutableMapping[str, str], settings: Settings | None) -> None:
    """Become who PUID and PGID name. `settings`: whose folders are handed over to that user."""
    mine = os.getuid(), os.getgid()
    uid = _number("PUID", environ, _UID if mine[0] == 0 else mine[0])
    gid = _number("PGID", environ, _GID if mine[0] == 0 else mine[1])
    if (uid, gid) == mine:
        return
    if mine[0] != 0:
        raise SettingsError(
            f"The container runs as uid {mine[0]}, gid {mine[1]}, and only root can become uid {uid}, gid {gid}: "
            f"start it with --user {uid}:{gid} instead of PUID and PGID, or with --user 0 beside them."
        )
    if settings is not None:
        for path in _handed_over(settings):
            _give(path, uid, gid)
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except PermissionError:
        _lacks_right(uid, gid)
    environ["HOME"] = "/tmp"  # noqa: S108 - root's is not this user's, and the image has none for anybody


def _number(name: str, environ: MutableMapping[str, str], default: int) -> int:
    text = environ.get(name) or str(default)
    if not re.fullmatch(r"\d{1,9}", text):
        raise SettingsError(f"{name}={text} is no number of a user or group; `id` shows yours.")
    return int(text)


def _handed_over(settings: Settings) -> Iterator[str]:
    """The state, which is the server's own; of what is served only a folder that is empty: a new volume."""
    for folder, names, files in os.walk(settings.state or ""):
        yield folder
        yield from (os.path.join(folder, name) for name in (*names, *files))
    for share in settings.shares.values():
        try:
            with os.scandir(share.folder) as entries:
                if next(entries, None) is None:
                    yield share.folder
        except OSError:
            continue  # told by whoever tries to write there


def _give(path: str, uid: int, gid: int) -> None:
    try:
        found = os.lstat(path)
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(path, uid, gid, follow_symlinks=False)
    except FileNotFoundError:
        return
    except PermissionError:
        _lacks_right(uid, gid)
    except OSError:
        return  # a file system that is read-only, or has no owners: told by whoever tries to write there


def _lacks_right(uid: int, gid: int) -> NoReturn:
    raise SettingsError(
        f"The container runs as root without the right to become uid {uid}, gid {gid}: start it with "
        f"--user {uid}:{gid}, which needs no rights at all, or with --cap-add CHOWN --cap-add SETUID --cap-add SETGID."
    )


# --- folders


def _require_writable(folder: str, what: str, *, may_be_read_only: bool = False) -> None:
    """Raises SettingsError."""
    who = f"uid {os.getuid()}, gid {os.getgid()}"
    try:
        try_writing(folder)
    except FileNotFoundError:
        raise SettingsError(f"{folder} is not there: mount a folder or a volume for {what} there.") from None
    except OSError as error:
        if may_be_read_only and error.errno == errno.EROFS:  # mounted so on purpose
            print(f"davserver: WARNING: {folder} is mounted read-only: {what} there can only be read.", file=sys.stderr)
            return
        raise SettingsError(
            f"{who} cannot write {folder} ({error.strerror}): give it to that user (chown {os.getuid()}:{os.getgid()} "
            "where it lies on the host), or start the container as its owner (--user UID:GID)."
        ) from error


def volume_warning(folder: str, mountinfo: str | None = None) -> str | None:
    """What is to be said of `folder` when it goes with the container. `mountinfo`: see proc_pid_mountinfo(5)."""
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo = file.read()
        except OSError:
            return None
    lost = "locks and properties are lost with the container; add -v davserver-state:" + folder
    for line in reversed(mountinfo.splitlines()):
        before, _, after = line.partition(" - ")
        root, point = before.split(" ")[3:5]
        if folder == point or (folder.startswith(point.rstrip("/") + "/") and point != "/"):
            if after.startswith("tmpfs "):
                return f"{folder} is kept in memory only: {lost}"
            return f"{folder} is a volume without a name: {lost}" if _NAMELESS.search(root) else None
    return f"{folder} is no volume: {lost}"


# --- the first user


def _admin(file: str) -> str:
    """The hash of the password of the user who is there when nobody is named; a new one is printed, this once. Raises
    SettingsError."""
    from davserver.access.hashes import hash_password

    try:
        kept = _kept(file)
        if kept is not None:
            return kept
        password = secrets.token_urlsafe(12)
        hashed = hash_password(password)
        _keep(file, hashed)
    except OSError as error:
        raise SettingsError(f"{file} cannot be used: {error.strerror}.") from error
    print(
        f"No user is configured. Log in as {_ADMIN} with the password {password}\n"
        f"It is shown this once and holds until {file} is deleted; DAVSERVER_USERNAME and DAVSERVER_PASSWORD set "
        "your own.",
        flush=True,
    )
    return hashed


def _kept(file: str) -> str | None:
    """None where nothing is kept yet: an empty file is what a full disk has left. Raises OSError, SettingsError."""
    from davserver.access.hashes import PasswordHash

    try:
        with open(file, encoding="ascii", errors="replace") as kept:
            text = kept.read().strip()
        return PasswordHash.parse(text).text if text else None
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SettingsError(
            f"{file} holds {error}, so that nobody could log in: delete it, and the next start prints a new password."
        ) from error


def _keep(file: str, hashed: str) -> None:
    """Whole, and on the disk, or not at all: the password is shown only once. Raises OSError."""
    aside = f"{file}.new"
    with open(
        os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="ascii"
    ) as new:
        new.write(f"{hashed}\n")
        new.flush()
        os.fsync(new.fileno())
    os.replace(aside, file)
    folder = os.open(os.path.dirname(file), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:], os.environ))

"""OSError → Refused, in one place. No message holds a path of the file system or the exception's own text."""

from __future__ import annotations

import errno
from collections.abc import Callable

from davserver.protocol.errors import (
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    InsufficientStorage,
    InternalError,
    NotFound,
    Refused,
    Unavailable,
    UriTooLong,
)


def _full() -> Refused:
    return InsufficientStorage("There is no space left for this file.")


def _forbidden() -> Refused:
    return Forbidden("The server's file system does not permit this.")


def _absent() -> Refused:
    return NotFound("There is nothing at this path.")


def _exhausted() -> Refused:
    return Unavailable("The server has too many files open; try again in a moment.")


_REFUSALS: dict[int, Callable[[], Refused]] = {
    errno.ENOSPC: _full,
    errno.EDQUOT: _full,
    errno.EFBIG: _full,
    errno.EACCES: _forbidden,
    errno.EPERM: _forbidden,
    errno.EROFS: _forbidden,
    errno.ETXTBSY: _forbidden,
    errno.ELOOP: _forbidden,
    errno.ENOENT: _absent,
    errno.ENOTDIR: _absent,
    errno.ENAMETOOLONG: lambda: UriTooLong("A name in this path is too long for the server's file system."),
    errno.EINVAL: lambda: BadRequest("The server's file system cannot store this name."),
    errno.EILSEQ: lambda: BadRequest("The server's file system cannot store this name."),
    errno.EMLINK: lambda: InsufficientStorage("The folder holds as many folders as its file system allows."),
    errno.EISDIR: lambda: Conflict("There is a collection at this path."),
    errno.EEXIST: lambda: Conflict("There is something at this path already."),
    errno.ENOTEMPTY: lambda: Conflict("The collection is not empty."),
    # A lease that another program holds (Samba): opening the file has told it to write back and let go.
    errno.EAGAIN: lambda: Busy("Another program is at work on this file; try again in a moment."),
    errno.EBUSY: lambda: Busy("The server's file system is busy with this resource; try again later."),
    errno.EMFILE: _exhausted,
    errno.ENFILE: _exhausted,
    errno.ENOMEM: _exhausted,
    errno.ESTALE: lambda: Unavailable("The server's file system is away; try again in a moment."),
}


class _Refusing:
    """A class and not a generator: every system call of a request passes here, and this costs a fifth."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise refusal_of(error) from error


_REFUSING = _Refusing()


def refusing() -> _Refusing:
    """What the operating system refuses inside becomes the refusal a client can understand."""
    return _REFUSING


def refusal_of(error: OSError) -> Refused:
    """The refusal for an error of the operating system; InternalError for one that nobody expects."""
    make = _REFUSALS.get(error.errno or 0)
    return InternalError("The server's file system failed.") if make is None else make()

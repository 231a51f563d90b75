"""What the operating system refuses, as a client learns it."""

from __future__ import annotations

import errno
import os

import pytest

from davserver.protocol.errors import Refused
from davserver.storage.oserrors import refusal_of, refusing


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, 507),
        (errno.EDQUOT, 507),
        (errno.EFBIG, 507),
        (errno.EMLINK, 507),
        (errno.EACCES, 403),
        (errno.EPERM, 403),
        (errno.EROFS, 403),
        (errno.ELOOP, 403),
        (errno.ENOENT, 404),
        (errno.ENOTDIR, 404),
        (errno.ENAMETOOLONG, 414),
        (errno.EINVAL, 400),
        (errno.EILSEQ, 400),
        (errno.EISDIR, 409),
        (errno.EEXIST, 409),
        (errno.ENOTEMPTY, 409),
        (errno.EBUSY, 423),
        (errno.EAGAIN, 423),
        (errno.EMFILE, 503),
        (errno.ENFILE, 503),
        (errno.ENOMEM, 503),
        (errno.ESTALE, 503),
        (errno.EIO, 500),
        (errno.EBADF, 500),
    ],
)
def test_each_error_has_its_status(number: int, status: int) -> None:
    with pytest.raises(Refused) as refused, refusing():
        raise OSError(number, os.strerror(number), "/secret/place/on/disk")
    assert refused.value.status == status
    assert "secret" not in refused.value.message
    assert os.strerror(number) not in refused.value.message


def test_an_error_without_a_number_is_ours() -> None:
    assert refusal_of(OSError("whatever")).status == 500


def test_503_says_when_to_try_again() -> None:
    assert dict(refusal_of(OSError(errno.EMFILE, "")).headers)["Retry-After"]

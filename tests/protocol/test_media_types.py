"""Names and the media types they stand for."""

from __future__ import annotations

import pytest

from davserver.protocol.media_types import media_type, runs_scripts


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("report.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("REPORT.DOCX", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("letter.odt", "application/vnd.oasis.opendocument.text"),
        ("page.html", "text/html"),
        ("photo.jpeg", "image/jpeg"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.bz2", "application/octet-stream"),
        ("a.webp", "image/webp"),
        ("a.unheardof", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        (".profile", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_name_has_one_type(name: str, kind: str) -> None:
    assert media_type(name) == kind


@pytest.mark.parametrize(
    ("kind", "runs"),
    [
        ("text/html", True),
        ("image/svg+xml", True),
        ("application/rss+xml", True),
        ("text/plain", False),
        ("application/pdf", False),
    ],
)
def test_what_a_browser_might_run(kind: str, runs: bool) -> None:
    assert runs_scripts(kind) is runs

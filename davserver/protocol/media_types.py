"""What kind of content a name stands for.

Office and LibreOffice open a document for editing only when its media type is right, so the table is ours
and does not depend on what the machine happens to have in /etc/mime.types.
"""

from __future__ import annotations

import mimetypes
from functools import lru_cache

_OOXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."
_OFFICE = {
    ".docx": _OOXML + "wordprocessingml.document",
    ".dotx": _OOXML + "wordprocessingml.template",
    ".xlsx": _OOXML + "spreadsheetml.sheet",
    ".xltx": _OOXML + "spreadsheetml.template",
    ".pptx": _OOXML + "presentationml.presentation",
    ".potx": _OOXML + "presentationml.template",
    ".ppsx": _OOXML + "presentationml.slideshow",
    ".docm": "application/vnd.ms-word.document.macroEnabled.12",
    ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    ".odt": _ODF + "text",
    ".ott": _ODF + "text-template",
    ".ods": _ODF + "spreadsheet",
    ".ots": _ODF + "spreadsheet-template",
    ".odp": _ODF + "presentation",
    ".otp": _ODF + "presentation-template",
    ".odg": _ODF + "graphics",
    ".odf": _ODF + "formula",
    ".md": "text/markdown",
    ".xhtml": "application/xhtml+xml",
    ".7z": "application/x-7z-compressed",
    ".heic": "image/heic",
    ".webp": "image/webp",
    ".mkv": "video/x-matroska",
    ".flac": "audio/flac",
    ".kdbx": "application/x-keepass2",
}
_DEFAULT = "application/octet-stream"

# The tables of the Python version, without the files of the machine.
_TABLE = mimetypes.MimeTypes(filenames=())
for _suffix, _kind in _OFFICE.items():
    _TABLE.add_type(_kind, _suffix)

_SCRIPTABLE = frozenset({"text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"})


def media_type(name: str) -> str:
    """File name → media type, without parameters: the bytes are served as they are, their charset is theirs."""
    dot = name.rfind(".")
    return _of_suffix(name[dot + 1 :]) if dot > 0 else _DEFAULT


@lru_cache(maxsize=1024)
def _of_suffix(suffix: str) -> str:
    suffix = "." + suffix.lower()
    if suffix in _TABLE.encodings_map:
        # a.tar.gz is a gzip file, not a tar file that the transfer happens to have compressed.
        return {"gzip": "application/gzip"}.get(_TABLE.encodings_map[suffix], _DEFAULT)
    return _TABLE.types_map[True].get(suffix) or _TABLE.types_map[False].get(suffix, _DEFAULT)


def runs_scripts(kind: str) -> bool:
    """May a browser run scripts found in such content?"""
    return kind in _SCRIPTABLE or kind.endswith("+xml")

"""Clients that no test can run, why, and the replays of test_replay.py and of other tests that stand for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cannot:
    """`replays`: names such as "R02" of what is sent in its place; none where nobody has recorded it."""

    reason: str
    replays: tuple[str, ...] = ()


WINDOWS = "runs on Windows only"
MACOS = "runs on macOS only"
DESKTOP = "has no interface but its windows"

CANNOT: dict[str, Cannot] = {
    "Windows Explorer, network drives": Cannot(WINDOWS, ("R02", "R03", "R05", "R06", "R07", "R14", "R15", "R17")),
    "Microsoft Office": Cannot(WINDOWS + ", or on macOS", ("R10", "R14", "R15", "R17")),
    "macOS Finder": Cannot(MACOS, ("R18", "R19", "R20", "R21", "R22", "R24", "R25", "R26", "R27")),
    "KDE Dolphin (KIO)": Cannot(DESKTOP, ("R35",)),
    "Cyberduck, Mountain Duck": Cannot("run on Windows and macOS only", ("R37",)),
    "Zotero": Cannot(DESKTOP, ("R41",)),
    "KeePass": Cannot(DESKTOP, ("R42",)),
    "Obsidian (Remotely Save)": Cannot(DESKTOP + "; the library that it is built on is tested: npm webdav"),
    "OnlyOffice, SoftMaker": Cannot(DESKTOP + " and are in no package registry"),
    "iOS and Android apps": Cannot("run on telephones only"),
}

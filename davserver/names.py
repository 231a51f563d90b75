"""What may be the name of a user or of a group: of whatever source, none is to be taken for anything else."""

from __future__ import annotations

from unicodedata import normalize

#: In rules these stand for many.
RESERVED = frozenset({"anonymous", "authenticated", "everyone"})


def composed(name: str) -> str:
    """A name as it is known here, however somebody who logs in spells it: RFC 7617 §2.1 has clients send NFC."""
    return name if name.isascii() else normalize("NFC", name)


def require_composed(name: str) -> str:
    """The name itself. Raises ValueError: two spellings that look alike would be two users with one folder (`{user}`),
    since paths are the same in either."""
    if composed(name) != name:
        raise ValueError(
            f"{name!r} must be written otherwise: in Unicode's composed form (NFC) it is {composed(name)!a}"
        )
    return name


def require_user_name(name: str) -> str:
    """The name itself. Raises ValueError."""
    require_composed(name)
    # RFC 7617 §2: no colon; "\" would be taken for a Windows domain, "@" for a group in a rule.
    if not name or not name.isprintable() or set(name) & set(':\\"') or name.startswith("@"):
        raise ValueError(f"{name!r} cannot be a user name: no colon, quote, backslash, control character or @ in front")
    if name in RESERVED:
        raise ValueError(f"{name!r} cannot be a user name: in rules it stands for many")
    return name


def require_group_name(name: str) -> str:
    """The name itself. Raises ValueError."""
    require_composed(name)
    if not name or not name.isprintable() or name.startswith("@"):
        raise ValueError(f"{name!r} cannot be the name of a group; it is written without @ here")
    return name

"""What may be the name of a user or of a group: of whatever source, none is to be taken for anything else."""

from __future__ import annotations

#: In rules these stand for many.
RESERVED = frozenset({"anonymous", "authenticated", "everyone"})


def require_user_name(name: str) -> None:
    """Raises ValueError."""
    # RFC 7617 §2: no colon; "\" would be taken for a Windows domain, "@" for a group in a rule.
    if not name or not name.isprintable() or set(name) & set(':\\"') or name.startswith("@"):
        raise ValueError(f"{name!r} cannot be a user name: no colon, quote, backslash, control character or @ in front")
    if name in RESERVED:
        raise ValueError(f"{name!r} cannot be a user name: in rules it stands for many")


def require_group_name(name: str) -> None:
    """Raises ValueError."""
    if not name or not name.isprintable() or name.startswith("@"):
        raise ValueError(f"{name!r} cannot be the name of a group; it is written without @ here")

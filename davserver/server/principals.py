"""Who may know of whom: the principals of a request, from the accounts there are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from davserver.access.access import Access, Identity
from davserver.access.accounts import Account
from davserver.methods.principals import Person
from davserver.protocol.messages import Request


class Acquaintances:
    """Everybody knows themselves and the groups they are in; administrators know all that can be listed, and who is in
    which group."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access

    def find(self, request: Request, name: str) -> Person | None:
        access = self._access()
        own = access.directory.vouched(request.principal.name)
        if name == own.name:
            return _person(own)
        all_of_them = _knows_all(access, request)
        if name.startswith("@"):
            return _group(access, own, name, told=all_of_them)
        account = access.directory.find(name) if all_of_them else None
        return None if account is None else _person(account)

    def all(self, request: Request) -> Iterator[Person]:
        access = self._access()
        own = access.directory.vouched(request.principal.name)
        yield _person(own)
        told = _knows_all(access, request)
        for name in access.directory.names() if told else ():
            account = access.directory.find(name)
            if account is not None and name != own.name:
                yield _person(account)
        for group in sorted(access.directory.groups() if told else own.groups):
            found = _group(access, own, f"@{group}", told=told)
            if found is not None:
                yield found


def _knows_all(access: Access, request: Request) -> bool:
    return access.is_administrator(Identity(request.principal, request.permissions, request.reach))


def _person(account: Account) -> Person:
    groups = tuple(f"@{group}" for group in sorted(account.groups))
    return Person(account.name, account.display_name or account.name, groups)


def _group(access: Access, own: Account, name: str, *, told: bool) -> Person | None:
    """`told`: who is in it."""
    group = name[1:]
    if told and group in access.directory.groups():
        return Person(name, group, members=tuple(sorted(access.directory.members([name]))))
    return Person(name, group, members=None) if group in own.groups else None

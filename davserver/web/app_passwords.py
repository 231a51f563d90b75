"""App passwords for those who have them: list, make, revoke.

That takes the login of the user. One that came by an app password manages none, neither others nor itself: a password
that was narrowed could make itself a wider one, and one that was stolen could outlive its revocation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from davserver.access.access import quoted
from davserver.access.app_passwords import AppPassword, AppPasswords
from davserver.protocol.errors import NotFound, NotKnown, NotPermitted
from davserver.protocol.messages import Reach
from davserver.protocol.moments import iso
from davserver.protocol.paths import ROOT, DavPath
from davserver.web.caller import Caller
from davserver.web.contract import Answer
from davserver.web.models import (
    AppPasswordBody,
    AppPasswordList,
    AppPasswordMade,
    AppPasswordModel,
    AppPasswordsQuery,
)
from davserver.web.places import Places

_log = logging.getLogger("davserver.audit")


class OwnPasswords:
    """App passwords, asked for by a caller. Everything raises NotFound where the server has none, and NotPermitted."""

    def __init__(self, passwords: AppPasswords, places: Places, base: str, clock: Callable[[], float]) -> None:
        """`base`: path of the API's URL."""
        self._passwords, self._places = passwords, places
        self._base, self._now = base, clock

    # --- operations of the API

    def listing(self, caller: Caller, query: AppPasswordsQuery) -> Answer:
        models = [self._model(password) for password in self.of(caller, query.user)]
        return Answer(200, AppPasswordList(app_passwords=models))

    def one(self, caller: Caller, number: int) -> Answer:
        require_manager(caller)
        return Answer(200, self._model(self._passwords.find(number, _whose(caller))))

    def create(self, caller: Caller, body: AppPasswordBody) -> Answer:
        made, secret = self.make(caller, body)
        model = AppPasswordMade(**self._model(made).model_dump(), password=secret)
        return Answer(201, model, (("Location", f"{self._base}/app-passwords/{made.id}"),))

    def end(self, caller: Caller, number: int) -> Answer:
        self.revoke(caller, number)
        return Answer(204)

    # --- the same for the page

    def of(self, caller: Caller, user: str | None = None) -> list[AppPassword]:
        """The caller's, or those of `user`, for administrators."""
        require_manager(caller)
        name = caller.principal.name if user is None else user
        if name != caller.principal.name and not caller.is_administrator:
            raise NotPermitted("The app passwords of others are for administrators to see.")
        return self._passwords.list(name)

    def make(self, caller: Caller, body: AppPasswordBody) -> tuple[AppPassword, str]:
        """A new one of the caller's, and the password itself. Raises BadRequest."""
        require_manager(caller)
        now = self._now()
        made, secret = self._passwords.create(
            caller.principal.name,
            body.name,
            now,
            scope=self._scope(caller, body.path),
            read_only=body.read_only,
            expires=None if body.seconds is None else now + body.seconds,
        )
        self._note("made", caller, made)
        return made, secret

    def revoke(self, caller: Caller, number: int) -> AppPassword:
        """One's own; administrators anybody's."""
        require_manager(caller)
        revoked = self._passwords.revoke(number, _whose(caller))
        self._note("revoked", caller, revoked)
        return revoked

    # --- inside

    def _scope(self, caller: Caller, text: str | None) -> DavPath:
        if text is None:
            return ROOT
        path = self._places.find(text)
        # The spelling that was found is told: not of what the caller may not know about.
        if not caller.permissions.leads(path):
            raise NotKnown("There is nothing at this path that you may use.")
        return DavPath(path.segments)

    def _model(self, password: AppPassword) -> AppPasswordModel:
        return AppPasswordModel(
            id=password.id,
            user=password.user,
            name=password.name,
            path=password.scope.href(self._places.prefix),
            read_only=password.read_only,
            created=iso(password.created),
            expires=None if password.expires is None else iso(password.expires),
            last_used=None if password.used is None else iso(password.used),
            last_used_from=password.used_from,
        )

    def _note(self, what: str, caller: Caller, password: AppPassword) -> None:
        _log.info(
            "app password %d of %s for %s %s by %s from %s: path=%s read_only=%s expires=%s",
            password.id,
            quoted(password.user),
            quoted(password.name),
            what,
            quoted(caller.principal.name),
            caller.client.address or "-",
            quoted(password.scope.key),
            password.read_only,
            "never" if password.expires is None else iso(password.expires),
        )


def require_manager(caller: Caller) -> None:
    """Raises NotFound where there are no app passwords, NotPermitted for those who do not manage any."""
    if not caller.has_app_passwords:
        raise NotFound("This server has no app passwords.")
    if caller.principal.is_anonymous:
        raise NotPermitted("App passwords belong to users: log in first.")
    if caller.reach is not Reach.WHOLE:
        raise NotPermitted("App passwords are managed with the password of the user, not with an app password.")


def _whose(caller: Caller) -> str | None:
    return None if caller.is_administrator else caller.principal.name

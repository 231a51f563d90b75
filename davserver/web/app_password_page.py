"""The page of app passwords, for people: list, make, revoke. Plain HTML with forms, nothing that runs or is fetched.

A form counts only where it was filled in here: it comes from this very server, also where pages of other origins may
use the API, and it holds a token that only our page knows.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from urllib.parse import parse_qsl

from flask import request
from pydantic import ValidationError
from werkzeug.wrappers import Response

from davserver.access.app_passwords import NAME_LIMIT, AppPassword
from davserver.protocol.dates import utc
from davserver.protocol.errors import BadRequest, NotFound, UnsupportedMediaType
from davserver.protocol.locked import page
from davserver.web.admission import require_this_server
from davserver.web.app_passwords import OwnPasswords
from davserver.web.caller import Caller
from davserver.web.form_token import FormTokens
from davserver.web.models import AppPasswordBody
from davserver.web.parsing import content_of

PAGE = "/-/app-passwords"
_HTML = "text/html; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"
#: What a form may hold, in bytes.
_LARGEST = 32 * 1024

_STYLE = (
    "body{margin:2rem auto;max-width:60rem}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.25rem .5rem;vertical-align:top}tr:nth-child(even){background:#8881}"
    "label{display:block;margin:.5rem 0}input,select,button{font:inherit}code{font-size:1.25rem}"
    ".said{border-left:.25rem solid #c33;padding-left:.75rem}"
)
#: What can be chosen, in days.
_ENDS = (("", "never"), ("1", "in a day"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))
_DAYS = {days for days, _ in _ENDS}
_DAY = 86400

HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
     "frame-ancestors 'none'; base-uri 'none'"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: with it browsers say "Origin: null" of our own forms.
    ("Referrer-Policy", "same-origin"),
)  # fmt: skip


class AppPasswordPage:
    def __init__(self, passwords: OwnPasswords, tokens: FormTokens, prefix: str, clock: Callable[[], float]) -> None:
        self._passwords, self._tokens = passwords, tokens
        self._prefix, self._now = prefix, clock

    def show(self, caller: Caller) -> Response:
        return self._page(caller)

    def submit(self, caller: Caller) -> Response:
        """A form of the page was sent. What is wrong with it is told on the page itself."""
        require_this_server()
        self._passwords.of(caller)  # whoever manages none is told that, and not what is wrong with the form
        fields = _fields()
        if not self._tokens.is_good(fields.get("token", ""), caller.principal.name, self._now()):
            return self._page(caller, 403, "This page was open for too long, or is not yours. Send it again.", fields)
        try:
            if "revoke" in fields:
                self._revoke(caller, fields["revoke"])
                # RFC 9110 §15.4.4: the page again, so that reloading it revokes nothing.
                return Response(status=303, headers=[("Location", self._prefix + PAGE)])
            made, secret = self._passwords.make(caller, _body(fields))
        except (BadRequest, NotFound) as refused:
            return self._page(caller, refused.status, refused.message, fields)
        return self._page(caller, made=(made, secret))

    def _revoke(self, caller: Caller, number: str) -> None:
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise NotFound("There is no such app password.")
        # A page is about its reader's own: an administrator's other ones are not in it.
        if int(number) not in {password.id for password in self._passwords.of(caller)}:
            raise NotFound("This app password is gone already.")
        self._passwords.revoke(caller, int(number))

    # --- HTML

    def _page(
        self,
        caller: Caller,
        status: int = 200,
        said: str = "",
        fields: dict[str, str] | None = None,
        made: tuple[AppPassword, str] | None = None,
    ) -> Response:
        found = self._passwords.of(caller)
        now = self._now()
        token = escape(self._tokens.new(caller.principal.name, now))
        hidden = f'<input type="hidden" name="token" value="{token}">'
        parts = [f"<p>Of {escape(caller.principal.display_name)}. A device or program that logs in with one of these "
                 "does not know your own password, and can be shut out alone.</p>"]  # fmt: skip
        if said:
            parts.append(f'<p class="said" role="alert">{escape(said)}</p>')
        if made is not None:
            parts.append(
                f'<p role="status">The password for {escape(made[0].name)}, shown this once. The user name to go with '
                f"it is {escape(made[0].user)}.</p><p><code>{escape(made[1])}</code></p>"
            )
        parts += [self._table(found, hidden, now), self._form(hidden, fields or {})]
        return Response(page("App passwords", "".join(parts), _STYLE), status, HEADERS, content_type=_HTML)

    def _table(self, found: list[AppPassword], hidden: str, now: float) -> str:
        if not found:
            return "<p>There are none yet.</p>"
        action = escape(self._prefix + PAGE)
        rows = "".join(
            f"<tr><td>{escape(password.name)}</td><td>{escape(self._scope(password))}</td>"
            f"<td>{escape(_end(password, now))}</td><td>{escape(_use(password))}</td>"
            f'<td><form method="post" action="{action}">{hidden}'
            f'<button name="revoke" value="{password.id}" aria-label="Revoke {escape(password.name)}">Revoke</button>'
            "</form></td></tr>"
            for password in found
        )
        return (
            "<table><thead><tr><th>For</th><th>Good for</th><th>Ends</th><th>Last used (UTC)</th><th></th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def _scope(self, password: AppPassword) -> str:
        where = "everything" if password.scope.is_root else f"{self._prefix}{password.scope.key}"
        return f"{where}, reading only" if password.read_only else where

    def _form(self, hidden: str, fields: dict[str, str]) -> str:
        """As it was filled in, where something was wrong with it."""
        ends = "".join(
            f'<option value="{days}"{" selected" if fields.get("days", "") == days else ""}>{text}</option>'
            for days, text in _ENDS
        )
        name, path = escape(fields.get("name", "")), escape(fields.get("path", f"{self._prefix}/"))
        checked = " checked" if "read_only" in fields else ""
        return (
            f'<h2>A new one</h2><form method="post" action="{escape(self._prefix + PAGE)}" autocomplete="off">{hidden}'
            f'<label>For which device or program <input name="name" maxlength="{NAME_LIMIT}" required '
            f'value="{name}"></label>'
            f'<label>Good for this folder and what is in it <input name="path" value="{path}"></label>'
            f'<label><input type="checkbox" name="read_only" value="yes"{checked}> Reading only</label>'
            f'<label>Ends <select name="days">{ends}</select></label><button>Make it</button></form>'
        )


def _fields() -> dict[str, str]:
    """Of the form that was sent. Raises UnsupportedMediaType, BadRequest, ContentTooLarge."""
    if request.mimetype != _FORM:
        raise UnsupportedMediaType(f"Send the form as {_FORM}.")
    try:
        pairs = parse_qsl(
            content_of(request.environ["wsgi.input"], _LARGEST).decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=20,
        )
    except ValueError as error:
        raise BadRequest("This is no form of this page.") from error
    return dict(pairs)


def _body(fields: dict[str, str]) -> AppPasswordBody:
    days = fields.get("days", "")
    if days not in _DAYS:
        raise BadRequest("Choose when it ends from what the page offers.")
    values = {
        "name": fields.get("name", "").strip(),
        "path": fields.get("path", "").strip() or None,
        "read_only": "read_only" in fields,
        "seconds": int(days) * _DAY if days else None,
    }
    try:
        return AppPasswordBody.model_validate(values)
    except ValidationError as error:
        raise BadRequest(
            f"Name the device or program in at most {NAME_LIMIT} characters, and a folder by its path: /photos."
        ) from error


def _end(password: AppPassword, now: float) -> str:
    if password.expires is None:
        return "never"
    day = f"{utc(password.expires):%Y-%m-%d %H:%M} UTC"
    return day if password.is_valid(now) else f"ended {day}"


def _use(password: AppPassword) -> str:
    if password.used is None:
        return "never"
    return f"{utc(password.used):%Y-%m-%d %H:%M}, from {password.used_from or 'an unknown address'}"

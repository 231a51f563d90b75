"""What changes while the server runs: accounts, breakers, TLS and the log. The rest waits for the next start."""

from __future__ import annotations

from davserver.server.http.server import DavServer
from davserver.server.http.tls import TlsAdapter
from davserver.server.logs import set_up_log
from davserver.settings import Settings, SettingsError

#: Settings that are taken over at once.
_AT_ONCE = frozenset({"users", "groups", "administrators", "rules", "anonymous", "auth", "tls", "log"})


def take_over(server: DavServer, settings: Settings) -> None:
    """Use new settings from now on. Connections and requests under way are left alone. Raises SettingsError when
    the certificate cannot be used: then all stays as it was."""
    access = server.wsgi_app.people.access(settings)
    if server.ssl_adapter is not None:
        load_certificate(server.ssl_adapter, settings)
    set_up_log(settings)
    server.wsgi_app.use(access, settings.locks.breakers)


def load_certificate(tls: TlsAdapter, settings: Settings) -> None:
    """Use the certificate that the settings name, as its files are now. Raises SettingsError."""
    if settings.tls.cert is not None:
        try:
            tls.load(settings.tls.cert, settings.tls.key)
        except OSError as error:
            # What OpenSSL says does not tell which of the two files it is.
            named = " with ".join(filter(None, (settings.tls.cert, settings.tls.key)))
            raise SettingsError(f"{named} cannot be used for TLS: {error.strerror or error}.") from error


def differences(old: Settings, new: Settings) -> list[str]:
    """Names of settings that are changed and wait for the next start."""
    # Who breaks locks is taken over at once; the rest of `locks` is not.
    rest = new.model_copy(update={"locks": new.locks.model_copy(update={"breakers": old.locks.breakers})})
    changed = [name for name in Settings.model_fields if getattr(old, name) != getattr(rest, name)]
    waiting = [name for name in changed if name not in _AT_ONCE]
    if (old.tls.cert is None) != (new.tls.cert is None):
        waiting.append("tls")  # a socket does not begin to speak TLS, nor stop it
    return waiting

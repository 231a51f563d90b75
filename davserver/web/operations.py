"""Every operation of the API, in one table."""

from __future__ import annotations

from davserver.web.app_passwords import OwnPasswords
from davserver.web.contract import Operation
from davserver.web.held import Held
from davserver.web.locks import Locks
from davserver.web.models import (
    AppPasswordBody,
    AppPasswordList,
    AppPasswordMade,
    AppPasswordModel,
    AppPasswordsQuery,
    BreakBody,
    BreakQuery,
    CheckoutBody,
    EventsQuery,
    ExtendBody,
    LockModel,
    LockPage,
    LocksQuery,
    MaintenanceBody,
    TransactionBody,
    TransactionModel,
)

_REASON = "The reason stands in the query or, for programs that can send one with DELETE, in a JSON body."


_OWN = "It takes the login of the user: an app password manages none."


def operations(locks: Locks, held: Held, passwords: OwnPasswords) -> tuple[Operation, ...]:
    return (
        Operation(
            "listLocks", "GET", "/locks", "List locks, or wait until there is none", locks.listing,
            {200: LockPage, 204: None}, query=LocksQuery, refusals=(400, 403, 404, 414),
            description="By id, the oldest first. With `wait` it answers as soon as nothing of the kind is locked.",
        ),
        Operation(
            "getLock", "GET", "/locks/{number}", "Show one lock", locks.one, {200: LockModel}, refusals=(404,)
        ),
        Operation(
            "breakLock", "DELETE", "/locks/{number}", "End a lock against its holder's will, or one's own",
            locks.break_, {204: None}, query=BreakQuery, body=BreakBody, body_optional=True,
            refusals=(400, 403, 404, 415), description=_REASON,
        ),
        Operation(
            "checkOut", "POST", "/checkouts", "Check out a file or a folder, until it is ended or the time is over",
            held.check_out, {201: LockModel}, body=CheckoutBody, refusals=(400, 403, 404, 414, 415, 423),
        ),
        Operation(
            "getCheckout", "GET", "/checkouts/{number}", "Show a check-out", held.checkout, {200: LockModel},
            refusals=(404,),
        ),
        Operation(
            "extendCheckout", "PATCH", "/checkouts/{number}", "Restart the time of one's own check-out",
            held.extend_checkout, {200: LockModel}, body=ExtendBody, refusals=(400, 403, 404, 412, 415),
        ),
        Operation(
            "endCheckout", "DELETE", "/checkouts/{number}", "End one's own check-out", held.end_checkout, {204: None},
            refusals=(403, 404),
        ),
        Operation(
            "beginTransaction", "POST", "/transactions", "Lock several paths as one, or none of them", held.begin,
            {201: TransactionModel}, body=TransactionBody, refusals=(400, 403, 404, 414, 415, 423),
            description="Requests that send its id as Transaction-Id pass its locks.",
        ),
        Operation(
            "getTransaction", "GET", "/transactions/{transaction_id}", "Show a transaction", held.transaction,
            {200: TransactionModel}, refusals=(404,),
        ),
        Operation(
            "renewTransaction", "PATCH", "/transactions/{transaction_id}", "Restart the time of one's own transaction",
            held.renew, {200: TransactionModel}, body=ExtendBody, refusals=(400, 403, 404, 412, 415),
        ),
        Operation(
            "endTransaction", "DELETE", "/transactions/{transaction_id}", "End one's own transaction", held.finish,
            {204: None}, refusals=(403, 404),
        ),
        Operation(
            "beginMaintenance", "POST", "/maintenance", "Let nobody else change anything at a path and below it",
            held.maintain, {201: LockModel}, body=MaintenanceBody, refusals=(400, 403, 404, 414, 415, 423),
        ),
        Operation(
            "getMaintenance", "GET", "/maintenance/{number}", "Show a maintenance", held.maintenance,
            {200: LockModel}, refusals=(404,),
        ),
        Operation(
            "extendMaintenance", "PATCH", "/maintenance/{number}", "Restart the time of one's own maintenance",
            held.extend_maintenance, {200: LockModel}, body=ExtendBody, refusals=(400, 403, 404, 412, 415),
        ),
        Operation(
            "endMaintenance", "DELETE", "/maintenance/{number}", "End one's own maintenance", held.end_maintenance,
            {204: None}, refusals=(403, 404),
        ),
        Operation(
            "listAppPasswords", "GET", "/app-passwords", "List one's own app passwords", passwords.listing,
            {200: AppPasswordList}, query=AppPasswordsQuery, refusals=(400, 403, 404), description=_OWN,
        ),
        Operation(
            "makeAppPassword", "POST", "/app-passwords", "Make a password for one device or program",
            passwords.create, {201: AppPasswordMade}, body=AppPasswordBody,
            refusals=(400, 403, 404, 414, 415, 423), description=f"It is told this once. {_OWN}",
        ),
        Operation(
            "getAppPassword", "GET", "/app-passwords/{number}", "Show one, but for the password itself", passwords.one,
            {200: AppPasswordModel}, refusals=(403, 404), description=_OWN,
        ),
        Operation(
            "revokeAppPassword", "DELETE", "/app-passwords/{number}", "Take one away; administrators anybody's",
            passwords.end, {204: None}, refusals=(403, 404),
            description=f"Whoever uses it is refused within a second, also during a maintenance. {_OWN}",
        ),
        Operation(
            "followEvents", "GET", "/events", "Follow what happens to locks, as server-sent events", locks.events,
            {200: None}, query=EventsQuery, refusals=(400, 403, 404, 414), media="text/event-stream",
            headers={"Last-Event-ID": "Go on behind this event; browsers send it by themselves."},
            description=(
                "Each event is named after what happened; its data is an Event. `missed` says that there were events "
                "in between which are not kept any more."
            ),
        ),
    )  # fmt: skip

"""What goes in and out of the API, as types: requests are validated by them, answers are made of them, and the
OpenAPI document is written from them. So none of the three says what another does not.

A field that does not apply is absent, never null. Moments are ISO 8601 in UTC, lengths of time are seconds. Paths
are those of URLs: percent-encoded, below the prefix that the server is mounted at.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Longest time that can be asked for; what is granted is in the answer.
YEAR = 366 * 86400
#: Numbers that the database can hold.
_LARGEST = 2**63 - 1

PathText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=8192,
        pattern="^/",
        description="Path of a URL of this server. Blanks and characters beyond ASCII may stand as they are.",
        examples=["/docs/report.docx"],
    ),
]
SecondsOf = Annotated[int, Field(ge=1, le=YEAR, description="For how long, in seconds from now.")]
Reason = Annotated[str, Field(max_length=500, description="Why; those who are stopped by it are told.")]


class _Query(BaseModel):
    """Text from the URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Body(BaseModel):
    """JSON: a number is a number and not text that looks like one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


# --- requests


class LocksQuery(_Query):
    path: PathText | None = Field(default=None, description="Locks that protect this path, or something below it.")
    holder: str | None = Field(default=None, max_length=200, description="Locks of the user with this name.")
    kind: Literal["write", "checkout", "transaction", "maintenance"] | None = None
    stale: bool | None = Field(default=None, description="Locks whose client has probably gone, or has not.")
    after: int = Field(default=0, ge=0, le=_LARGEST, description="Locks with a greater id.")
    limit: int = Field(default=100, ge=1, le=1000, description="Locks in one answer.")
    wait: int | None = Field(
        default=None,
        ge=0,
        le=60,
        description="Answer when there is no such lock at `path` any more; 204 if there still is after so long.",
    )

    @model_validator(mode="after")
    def _waits_for_something(self) -> LocksQuery:
        if self.wait is not None and self.path is None:
            raise ValueError("wait needs a path to wait for")
        return self


class BreakQuery(_Query):
    reason: Reason | None = None


class EventsQuery(_Query):
    path: PathText | None = Field(default=None, description="Events of locks at this path, above it or below it.")
    after: int | None = Field(
        default=None, ge=0, le=_LARGEST, description="Begin behind this event. Without it: with what comes next."
    )
    seconds: int = Field(default=600, ge=1, le=600, description="The stream ends after so long; ask again then.")


class NoQuery(_Query):
    pass


class BreakBody(_Body):
    reason: Reason | None = None


class CheckoutBody(_Body):
    path: PathText
    seconds: SecondsOf = 8 * 3600
    reason: Reason | None = None


class TransactionBody(_Body):
    paths: list[PathText] = Field(
        min_length=1, max_length=1000, description="Each is locked with all that is below it; all of them, or none."
    )
    seconds: SecondsOf = 60
    reason: Reason | None = None


class MaintenanceBody(_Body):
    path: PathText | None = Field(default=None, description="What it is about; without it: the whole server.")
    seconds: SecondsOf | None = Field(default=None, description="For how long; without it: until it is ended.")
    reason: Annotated[str, Field(min_length=1, max_length=500, description="What for; everybody who waits is told.")]
    blocks_reads: bool = Field(default=False, description="Let nobody read either.")
    break_locks: bool = Field(default=False, description="Break the locks that are in the way.")


class ExtendBody(_Body):
    seconds: SecondsOf


class AppPasswordsQuery(_Query):
    user: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Whose, for administrators; else one's own.",
    )


class AppPasswordBody(_Body):
    name: Annotated[str, Field(min_length=1, max_length=100, description="Of the device or program that it is for.")]
    path: PathText | None = Field(default=None, description="Good for this, and what is below; without it: everywhere.")
    read_only: bool = Field(default=False, description="Good for nothing but reading.")
    seconds: SecondsOf | None = Field(default=None, description="For how long; without it: until it is revoked.")


# --- answers


class ClientModel(_Answer):
    address: str | None = None
    agent: str | None = None


class LockModel(_Answer):
    """A lock. Its token is told to nobody here."""

    id: int = Field(description="Names the lock; it is not its token.")
    path: str
    scope: Literal["exclusive", "shared"]
    depth: Literal["0", "infinity"]
    kind: Literal["write", "checkout", "transaction", "maintenance"]
    locked_by: str | None = Field(default=None, description="Absent where it is not told, or not known.")
    locked_since: str
    locked_until: str | None = Field(default=None, description="Absent for a lock without an end.")
    lock_reason: str | None = None
    transaction_id: str | None = None
    fencing_number: int | None = None
    blocks_reads: bool | None = None
    refreshed_at: str
    probably_stale: bool = Field(description="Its client has missed two refreshes.")
    can_break: bool = Field(description="May the caller break it?")
    client: ClientModel | None = Field(default=None, description="For those who hold the lock, or may break it.")


class LockPage(_Answer):
    locks: list[LockModel]
    next: str | None = Field(default=None, description="URL of the next page; absent on the last one.")


class TransactionModel(_Answer):
    transaction_id: str = Field(description="To be sent as Transaction-Id with every request that is part of it.")
    fencing_number: int = Field(description="Greater than that of every transaction before.")
    locked_until: str
    lock_reason: str | None = None
    locked_by: str | None = None
    paths: list[str]
    locks: list[LockModel]


class AppPasswordModel(_Answer):
    """An app password, but for itself."""

    id: int
    user: str
    name: str = Field(description="Of the device or program that it is for.")
    path: str = Field(description="It is good for this, and what is below.")
    read_only: bool
    created: str
    expires: str | None = Field(default=None, description="Absent for one without an end.")
    last_used: str | None = Field(default=None, description="To the minute; absent for one that was never used.")
    last_used_from: str | None = Field(default=None, description="Address of the client.")


class AppPasswordMade(AppPasswordModel):
    password: str = Field(description="The password itself. It is told this once, and kept as a hash.")


class AppPasswordList(_Answer):
    app_passwords: list[AppPasswordModel] = Field(description="The oldest first, those that have ended among them.")


class EventModel(_Answer):
    """What happened to a lock: `data` of a server-sent event, and the body of a webhook."""

    id: int = Field(description="Greater than that of every event before.")
    event: Literal["locked", "refreshed", "released", "expired", "broken"]
    at: str
    lock_id: int
    path: str
    kind: Literal["write", "checkout", "transaction", "maintenance"]
    locked_by: str | None = None
    locked_until: str | None = None
    lock_reason: str | None = None
    broken_by: str | None = None
    break_reason: str | None = None


class FaultModel(_Answer):
    field: str
    message: str


class ProblemModel(_Answer):
    """RFC 9457."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FaultModel] | None = None


class BlockingLockModel(_Answer):
    id: int
    path: str
    scope: Literal["exclusive", "shared"]
    depth: Literal["0", "infinity"]
    kind: Literal["write", "checkout", "transaction", "maintenance"]
    locked_by: str | None = None
    locked_since: str
    locked_until: str | None = None
    lock_reason: str | None = None
    transaction_id: str | None = None


class LockedModel(_Answer):
    """The 423 of every resource, here and in WebDAV."""

    error: Literal["Locked"]
    message: str
    path: str | None = None
    maintenance_mode: Literal[True] | None = None
    transaction_id: str | None = None
    locked_by: str | None = None
    locked_until: str | None = None
    lock_reason: str | None = None
    retry_after: int | None = None
    locks: list[BlockingLockModel]

"""The OpenAPI document says what the API does: it is valid, whole, and every answer keeps to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from apiworld import BASE, USERS, User
from inprocess import Local
from serving import serving
from wire import Answer


@pytest.fixture
def document(stranger: User) -> dict[str, Any]:
    found: dict[str, Any] = stranger("GET", "/openapi.json").json
    return found


def test_it_names_every_resource_and_nothing_else(document: dict[str, Any], client: Local) -> None:
    assert document["openapi"] == "3.1.0"
    named = {(path, method) for path, item in document["paths"].items() for method in item}
    assert len(named) == 20
    beside = client.app._terminal.beside  # type: ignore[attr-defined]
    rules = {
        (re.sub(r"<(?:[^:>]*:)?(\w+)>", r"{\1}", rule.rule).removeprefix(BASE), method.lower())
        for rule in beside._app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    page = {("/-/app-passwords", "get"), ("/-/app-passwords", "post")}
    assert rules == named | {("/openapi.json", "get")} | page


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return found.union(*(references(value) for value in node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= names
    operations = {each["operationId"] for item in document["paths"].values() for each in item.values()}
    linked = [
        link["operationId"]
        for item in document["paths"].values()
        for each in item.values()
        for response in each["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(linked) == 11
    assert set(linked) <= operations


def test_answers_are_what_it_says(document: dict[str, Any], alice: User, bob: User, carol: User) -> None:
    """Also those that a fuzzer does not come upon."""

    def check(answer: Answer, path: str, method: str, status: int) -> None:
        assert answer.status == status, answer.body
        described = document["paths"][path][method]["responses"][str(status)]
        kind = answer.headers["content-type"]
        schema = described["content"][kind]["schema"] | {"components": document["components"]}
        jsonschema_rs.validate(schema, answer.json)
        # What does not apply is absent.
        assert b":null" not in answer.body.replace(b" ", b"")

    alice.dav("PUT", "/f", b"x")
    check(alice("POST", "/checkouts", {"path": "/f"}), "/checkouts", "post", 201)
    check(carol("POST", "/checkouts", {"path": "/f"}), "/checkouts", "post", 423)
    check(carol("POST", "/transactions", {"paths": ["/x", "/y"], "reason": "r"}), "/transactions", "post", 201)
    check(alice("GET", "/transactions/txn-1"), "/transactions/{transaction_id}", "get", 200)
    check(alice("POST", "/transactions", {"paths": ["/x"]}), "/transactions", "post", 423)
    check(bob("POST", "/maintenance", {"reason": "r", "path": "/z"}), "/maintenance", "post", 201)
    check(alice("GET", "/locks?limit=2"), "/locks", "get", 200)
    check(bob("GET", "/locks"), "/locks", "get", 200)
    check(alice("POST", "/checkouts", {}), "/checkouts", "post", 422)
    check(alice("GET", "/locks/99"), "/locks/{number}", "get", 404)
    check(carol("DELETE", "/locks/1?reason=x"), "/locks/{number}", "delete", 403)


@pytest.mark.slow
def test_events_are_what_it_says(document: dict[str, Any], alice: User) -> None:
    alice.lock("/f")
    body = alice("GET", "/events?after=0&seconds=1").body.decode()
    (data,) = re.findall(r"^data: (.*)$", body, re.MULTILINE)
    schema = {"$ref": "#/components/schemas/EventModel", "components": document["components"]}
    jsonschema_rs.validate(schema, json.loads(data))


@pytest.mark.slow
def test_a_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """schemathesis: no 5xx, and every answer as the document describes it."""
    users = {name: USERS[name] for name in ("alice", "bob")}
    with serving(tmp_path, users=users, anonymous="none", locks={"breakers": ["bob"]}, log={"access": False}) as server:
        (server.root / "f").write_text("x")
        run = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")),),
                *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
                *("run", f"{server.url}{BASE[1:]}/openapi.json", "--auth", "bob:bob"),
                # A stream has no end that it would wait for, and a poll holds it up.
                *("--exclude-path", "/events", "--request-timeout", "10"),
                # What is right in form may still be about a path that is none.
                *("--exclude-checks", "positive_data_acceptance"),
                *("--max-examples", "6", "--seed", "1", "--no-color", "--warnings", "off"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    said = "\n".join(line[:500] for line in run.stdout.splitlines())
    assert run.returncode == 0, said[-8000:]
    assert "19 selected" in said

"""Rules: tables of who may do what where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.access.permissions import READ_ONLY, READ_WRITE, STRANGERS, Everywhere, Scoped
from davserver.access.rules import Pattern, Rule, Ruled, Rules, parse_rights
from davserver.protocol.messages import Action, Permissions, Rights
from davserver.protocol.paths import ROOT, DavPath

R = (Action.READ,)
RW = tuple(Action)


@pytest.mark.parametrize(
    ("allow", "lock", "expected"),
    [
        ("none", True, ()),
        ("r", True, R),
        ("rw", True, RW),
        ("rw", False, (Action.READ, Action.WRITE, Action.CREATE, Action.DELETE)),
        ("w", True, (Action.CREATE, Action.LOCK)),
        ("crud", True, RW),
        ("ru", True, (Action.READ, Action.WRITE, Action.LOCK)),
        ("d", True, (Action.DELETE,)),
        ("rd", True, (Action.READ, Action.DELETE)),
    ],
)
def test_rights(allow: str, lock: bool, expected: Rights) -> None:
    assert parse_rights(allow, lock=lock) == expected


@pytest.mark.parametrize("allow", ["", "x", "rr", "rwx", "R", "r w", "wr"])
def test_what_is_no_right(allow: str) -> None:
    with pytest.raises(ValueError, match=r"none"):
        parse_rights(allow)


YES, BELOW, NO = (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/", "/", YES),
        ("/", "/a/b", YES),
        ("/a", "/a", YES),
        ("/a", "/a/b", YES),
        ("/a", "/", BELOW),
        ("/a", "/ab", NO),  # no prefix of a name
        ("/a", "/A", NO),
        ("/a/b", "/a", BELOW),
        ("/a/b", "/a/c", NO),
        ("/a/b", "/a/b/c", YES),
        ("/a/", "/a", YES),
        ("/*", "/", BELOW),
        ("/*", "/x", YES),
        ("/*.txt", "/x.txt", YES),
        ("/*.txt", "/x.txt/y", YES),
        ("/*.txt", "/x/y.txt", NO),
        ("/a?c", "/abc", YES),
        ("/a?c", "/ac", NO),
        ("/[ab]x", "/bx", YES),
        ("/a/*/c", "/a", BELOW),
        ("/a/*/c", "/a/b", BELOW),
        ("/a/*/c", "/a/b/c/d", YES),
        ("/a/*/c", "/a/b/d", NO),
        ("/**/tmp", "/", BELOW),
        ("/**/tmp", "/tmp", YES),
        ("/**/tmp", "/a/b/tmp/c", YES),
        ("/**/tmp", "/a/b", BELOW),
        ("/a/**/b", "/a/b", YES),
        ("/a/**/b", "/a/x/y/b", YES),
        ("/a/**/b", "/c", NO),
        ("/**", "/", YES),
        ("/a/**", "/a", YES),
        ("/**/**/x", "/x", YES),
        ("/é", "/e\u0301", YES),  # as macOS spells it
    ],
)
def test_patterns(pattern: str, path: str, expected: tuple[bool, bool]) -> None:
    assert Pattern(pattern).match(DavPath.from_key(path).segments) == expected


@pytest.mark.parametrize(("pattern", "path"), [("/Secret", "/sEcReT/x"), ("/*.TXT", "/a.txt"), ("/É", "/e\u0301")])
def test_where_case_does_not_matter(pattern: str, path: str) -> None:
    segments = DavPath.from_key(path).segments
    assert Pattern(pattern, fold=True).match(segments) == YES
    assert Pattern(pattern).match(segments) == NO


def rule(path: str, who: str, allow: str, *, lock: bool = True) -> Rule:
    return Rule(path, frozenset(who.split()), parse_rights(allow, lock=lock))


TABLE = Rules(
    [
        rule("/public/staff", "@staff", "rw"),
        rule("/public/staff", "everyone", "none"),
        rule("/public", "anonymous", "r"),
        rule("/inbox", "authenticated", "w"),
        rule("/home/{user}", "authenticated", "rw"),
        rule("/team/secret", "bob", "none"),
        rule("/team", "@staff bob", "rw"),
        rule("/team/*.final", "carol", "r"),
        rule("/archive", "authenticated", "rw", lock=False),
    ]
)
ANYBODY, ALICE, BOB, CAROL = TABLE.anonymous(), TABLE.of("alice", ["staff"]), TABLE.of("bob", []), TABLE.of("carol", [])


@pytest.mark.parametrize(
    ("who", "path", "rights", "leads", "whole"),
    [
        (ANYBODY, "/", (), True, False),
        (ANYBODY, "/public", R, True, False),
        (ANYBODY, "/public/a/b", R, True, True),
        (ANYBODY, "/public/staff/x", (), False, True),
        (ANYBODY, "/publicity", (), False, True),
        (ANYBODY, "/inbox", (), False, True),
        (ALICE, "/", (), True, False),
        (ALICE, "/public/staff", RW, True, True),
        (ALICE, "/public/x", R, True, True),  # what anybody may, those who log in may
        (ALICE, "/inbox/x", (Action.CREATE, Action.LOCK), True, True),
        (ALICE, "/home", (), True, False),
        (ALICE, "/home/alice/x", RW, True, True),
        (ALICE, "/home/bob", (), False, True),
        (ALICE, "/team", RW, True, True),
        (ALICE, "/archive", (Action.READ, Action.WRITE, Action.CREATE, Action.DELETE), True, True),
        (BOB, "/public/staff", (), False, True),
        (BOB, "/team", RW, True, False),
        (BOB, "/team/secret/x", (), False, True),
        (BOB, "/team/secrets", RW, True, True),
        (CAROL, "/team", (), True, False),
        (CAROL, "/team/x.final/y", R, True, True),
        (CAROL, "/team/x", (), False, True),
        (CAROL, "/elsewhere", (), False, True),
    ],
)
def test_a_table(who: Permissions, path: str, rights: Rights, leads: bool, whole: bool) -> None:
    at = DavPath.from_key(path)
    assert who.rights(at) == rights
    assert [action for action in Action if who.allows(action, at)] == list(rights)
    assert who.leads(at) is leads
    assert who.whole(at) == (rights if whole else None)


def test_without_rules_nobody_may_anything_but_who_logs_in_sees_the_root() -> None:
    alice, anybody = Rules([]).of("alice", []), Rules([]).anonymous()
    assert alice.rights(ROOT) == anybody.rights(ROOT) == ()
    assert alice.leads(ROOT)
    assert not anybody.leads(ROOT)
    assert not alice.leads(DavPath.from_key("/a"))


def test_where_everything_is_allowed_nothing_is_asked() -> None:
    rules = Rules([rule("/", "authenticated", "rw"), rule("/", "anonymous", "r")])
    assert rules.of("alice", []) == READ_WRITE
    assert rules.anonymous() == READ_ONLY
    assert isinstance(Rules([rule("/**", "everyone", "r")]).anonymous(), Everywhere)


@pytest.mark.parametrize("name", ["anonymous", "authenticated", "everyone", "@staff"])
def test_a_user_of_a_reserved_name_is_nobody_special(name: str) -> None:
    rules = Rules([rule("/a", "anonymous @staff", "none"), rule("/a", "authenticated", "r")])
    assert rules.of(name, []).rights(DavPath.from_key("/a")) == R


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("a*", "/home/a*/x", RW),
        ("a*", "/home/ab/x", ()),
        ("[x]", "/home/[x]", RW),
        ("[x]", "/home/x", ()),
        ("?", "/home/?", RW),
        ("?", "/home/b", ()),
        ("..", "/home/..", ()),
        ("a/b", "/home/a/b", ()),
        ("-", "/home/-", ()),
    ],
)
def test_a_users_name_is_a_name(name: str, path: str, expected: Rights) -> None:
    permissions = Rules([rule("/home/{user}", "authenticated", "rw")]).of(name, [])
    assert permissions.rights(DavPath.from_key(path)) == expected


def test_case_does_not_matter_in_rules_about_shares_in_which_it_does_not() -> None:
    rules = Rules(
        [rule("/win/Secret", "everyone", "none"), rule("/unix/Secret", "everyone", "none"), rule("/", "everyone", "r")],
        folded=[DavPath.from_key("/win")],
    )
    anybody = rules.anonymous()
    assert anybody.rights(DavPath.from_key("/win/secret")) == ()
    assert anybody.rights(DavPath.from_key("/unix/secret")) == R
    assert Rules([rule("/**/Secret", "everyone", "none")], folded=[ROOT]).anonymous().whole(ROOT) is not None


def test_a_rule_is_about_a_path() -> None:
    with pytest.raises(ValueError, match="slash"):
        rule("docs", "everyone", "r")


_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, max_size=3).map(lambda names: "/" + "/".join(names))
_PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "**", "?", "[ab]"]), max_size=3).map(lambda n: "/" + "/".join(n))
_RIGHTS = st.sampled_from(["none", "r", "rw", "w"]).map(parse_rights)


@given(st.lists(st.tuples(_PATTERNS, _RIGHTS), max_size=5), _PATHS, st.lists(_NAMES, max_size=3))
def test_what_is_said_of_a_tree_is_true_of_all_in_it(
    found: list[tuple[str, Rights]], top: str, below: list[str]
) -> None:
    permissions = Ruled([(Pattern(pattern), rights) for pattern, rights in found], greeted=False)
    tree = DavPath.from_key(top)
    member = DavPath((*tree.segments, *below))
    whole = permissions.whole(tree)
    if whole is not None:
        assert permissions.rights(member) == whole
    if permissions.rights(member):
        assert permissions.leads(tree)


@given(st.lists(st.tuples(_PATTERNS, _RIGHTS), max_size=5), _PATHS)
def test_the_first_rule_that_fits_decides(found: list[tuple[str, Rights]], path: str) -> None:
    at = DavPath.from_key(path)
    expected = next((rights for pattern, rights in found if Pattern(pattern).match(at.segments)[0]), ())
    assert Ruled([(Pattern(pattern), rights) for pattern, rights in found], greeted=True).rights(at) == expected


# --- what an app password leaves


@pytest.mark.parametrize(
    ("read_only", "path", "rights", "leads", "whole"),
    [
        (False, "/", (), True, False),
        (False, "/team", RW, True, False),
        (False, "/team/x", RW, True, True),
        (False, "/team/secret", (), False, True),
        (False, "/public", (), False, True),
        (True, "/team", R, True, False),
        (True, "/team/x", R, True, True),
    ],
)
def test_a_scope_narrows(read_only: bool, path: str, rights: Rights, leads: bool, whole: bool) -> None:
    scoped = Scoped(BOB, DavPath.from_key("/team"), read_only)
    at = DavPath.from_key(path)
    assert scoped.rights(at) == rights
    assert scoped.allows(Action.READ, at) == (Action.READ in rights)
    assert scoped.leads(at) is leads
    assert scoped.whole(at) == (rights if whole else None)


def test_strangers_are_told_what_can_be_done_and_not_what_is_there() -> None:
    assert not STRANGERS.allows(Action.READ, ROOT)
    assert not STRANGERS.leads(ROOT)
    assert STRANGERS.whole(ROOT) == RW[1:]

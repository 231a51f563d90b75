"""DavPath: RFC 3986 §2.4 and §3.3, RFC 4918 §5.2 and §8.3, and every spelling that must lead nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.errors import BadRequest
from davserver.protocol.paths import ROOT, DavPath, quote_name, quote_names

SEGMENTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda names: DavPath(tuple(names)))
#: What WSGI hands over: characters that stand for bytes.
RAW = st.text(st.characters(max_codepoint=0xFF), max_size=60)


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("/", ()),
        ("//", ()),
        ("/a", ("a",)),
        ("/a/b", ("a", "b")),
        ("//a///b", ("a", "b")),
        ("/%41%62", ("Ab",)),
        ("/a%20b", ("a b",)),
        ("/a b", ("a b",)),
        ("/%C3%A4", ("ä",)),
        ("/%c3%a4", ("ä",)),
        ("/\xc3\xa4", ("ä",)),
        ("/\xc3\xa0", ("à",)),
        ("/u%CC%88", ("u\N{COMBINING DIAERESIS}",)),
        ("/%F0%9F%94%92", ("\N{LOCK}",)),
        ("/a;b%3Bc", ("a;b;c",)),
        ("/a%3Fb%23c", ("a?b#c",)),
        ("/100%25", ("100%",)),
        ("/%252e%252e", ("%2e%2e",)),
        ("/~$a.docx", ("~$a.docx",)),
        ("/%7E%24a.docx", ("~$a.docx",)),
        ("/...", ("...",)),
        ("/.hidden", (".hidden",)),
        ("/..a/b..", ("..a", "b..")),
        ("/a%5Cb", ("a\\b",)),
        ("/a%0Ab", ("a\nb",)),
    ],
)
def test_a_url_path_is_split_and_then_decoded_once(raw: str, names: tuple[str, ...]) -> None:
    assert DavPath.parse(raw).segments == names


@pytest.mark.parametrize(
    "raw",
    [
        *["", "a", "a/b", "*", "http://h/a", "?", " /a"],
        *["/%", "/a%", "/%4", "/%zz", "/%u0041", "/%-1", "/% 41"],
        *["/a%2Fb", "/a%2fb", "/%2F", "/..%2f..%2fetc"],
        *["/%00", "/a%00.txt", "/a\0", "/a/\0/b"],
        *["/.", "/..", "/./a", "/a/.", "/a/..", "/a/../b", "/../a", "/../../etc/passwd", "//../a"],
        *["/%2e", "/%2E", "/%2e%2e", "/%2E%2E/a", "/.%2e/a", "/%2e./a", "/a/%2e%2E"],
        *["/%c0%ae%c0%ae/a", "/%c0%af", "/%e0%80%ae", "/%c1%9c", "/%f0%80%80%ae"],
        *["/%ff", "/\xff", "/%c3", "/\xc3", "/%ed%a0%80", "/%f5%80%80%80", "/\u0100", "/%41\u0100"],
    ],
)
def test_bad_url_paths(raw: str) -> None:
    with pytest.raises(BadRequest):
        DavPath.parse(raw)


@given(RAW | RAW.map("/{}".format) | st.text(alphabet="/.%2eEfF05cC", max_size=30).map("/{}".format))
@settings(deadline=None)
def test_whatever_comes_is_a_path_or_a_bad_request(raw: str) -> None:
    try:
        path = DavPath.parse(raw)
    except BadRequest:
        return
    assert not {"", ".", ".."} & set(path.segments)
    assert not any("/" in name or "\0" in name for name in path.segments)
    assert DavPath.parse(path.href(collection=path.slash)) == path


@given(PATHS, st.booleans(), st.sampled_from(["", "/dav"]))
@settings(deadline=None)
def test_an_href_leads_back(path: DavPath, collection: bool, prefix: str) -> None:
    href = path.href(prefix, collection=collection)
    assert href.isascii()
    assert not set(href) & set(' "<>\\^`{|}?#&;\n\t')
    assert href.startswith(prefix + "/")
    back = DavPath.parse(href.removeprefix(prefix))
    assert back == path
    assert back.slash is (collection or path.is_root)


@given(PATHS)
@settings(deadline=None)
def test_a_key_leads_back(path: DavPath) -> None:
    assert DavPath.from_key(path.key) == path
    assert path.key == str(path)


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a & b;c #1?.txt", "a%20%26%20b%3Bc%20%231%3F.txt"),
        ("(a)!$'*+,=:@-._~", "(a)!$'*+,=:@-._~"),
        ("ä%", "%C3%A4%25"),
        ("a/b", "a%2Fb"),
    ],
)
def test_names_in_hrefs(name: str, escaped: str) -> None:
    assert quote_name(name) == escaped


@given(st.lists(SEGMENTS | st.text("ab .-", min_size=1)))
def test_names_in_hrefs_all_at_once(names: list[str]) -> None:
    assert quote_names(names) == list(map(quote_name, names))


@pytest.mark.parametrize(
    ("path", "prefix", "collection", "href"),
    [
        ("/", "", False, "/"),
        ("/", "", True, "/"),
        ("/", "/dav", True, "/dav/"),
        ("/a", "", False, "/a"),
        ("/a", "/dav", True, "/dav/a/"),
        ("/a/b", "/dav", False, "/dav/a/b"),
    ],
)
def test_hrefs_of_collections_end_in_a_slash(path: str, prefix: str, collection: bool, href: str) -> None:
    assert DavPath.parse(path).href(prefix, collection=collection) == href


def test_the_slash_is_remembered_and_not_compared() -> None:
    with_slash, without = DavPath.parse("/a/"), DavPath.parse("/a")
    assert with_slash.slash
    assert not without.slash
    assert with_slash == without
    assert hash(with_slash) == hash(without)
    assert DavPath.parse("/a/b") > with_slash


def test_names_are_compared_whole() -> None:
    """File Browser's and WsgiDAV's holes: a sibling whose name begins like the folder's is not inside it."""
    folder = DavPath.parse("/root")
    assert folder.contains(folder)
    assert folder.contains(DavPath.parse("/root/x"))
    assert not folder.contains(DavPath.parse("/root_evil/x"))
    assert not folder.contains(DavPath.parse("/"))
    assert ROOT.contains(folder)


def test_family() -> None:
    path = DavPath.parse("/a/b/c")
    assert path.name == "c"
    assert path.parent == DavPath.parse("/a/b")
    assert path.parent.slash
    assert path.ancestors == (ROOT, DavPath.parse("/a"), DavPath.parse("/a/b"))
    assert path.parent.child("c") == path
    assert not path.is_root


def test_the_root_has_neither_name_nor_parent() -> None:
    assert ROOT.is_root
    assert ROOT.name == ""
    assert ROOT.ancestors == ()
    assert ROOT.key == "/"
    with pytest.raises(ValueError, match="no parent"):
        _ = ROOT.parent


def test_below_and_rebase() -> None:
    path, folder = DavPath.parse("/q/x/q/y"), DavPath.parse("/q")
    assert path.below(folder) == ("x", "q", "y")
    assert folder.below(folder) == ()
    assert path.rebase(folder, DavPath.parse("/w/v")) == DavPath.parse("/w/v/x/q/y")
    assert folder.rebase(folder, ROOT) == ROOT
    with pytest.raises(ValueError, match="not below"):
        path.rebase(DavPath.parse("/x"), folder)


@given(PATHS, PATHS)
@settings(deadline=None)
def test_a_path_contains_what_has_it_as_ancestor(one: DavPath, other: DavPath) -> None:
    assert one.contains(other) == (one == other or one in other.ancestors)
    inside = DavPath(one.segments + other.segments)
    assert one.contains(inside)
    assert inside.below(one) == other.segments
    assert inside.rebase(one, other) == DavPath(other.segments + other.segments)

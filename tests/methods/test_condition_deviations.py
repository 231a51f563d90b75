"""If and the HTTP preconditions, where stock WsgiDAV 4.4.0 bends: each test fails on its behaviour."""

from __future__ import annotations

import pytest
from wire import Dav

LATER = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def file(dav: Dav, folder: str) -> str:
    path = f"{folder}/f.txt"
    assert dav("PUT", path, b"content").status == 201
    return path


def etag(dav: Dav, path: str) -> str:
    return dav("HEAD", path).headers["etag"]


def test_a_tagged_list_with_an_absolute_url_is_evaluated(dav: Dav, file: str) -> None:
    """RFC 4918 §10.4.2, §10.4.3; whatever scheme and host a proxy made of the URL."""
    for url in (dav.url(file), f"https://files.example{file}", file):
        assert dav("PUT", file, b"x", If=f'<{url}> (["nope"])').status == 412
        assert dav("PUT", file, b"x", If=f"<{url}> ([{etag(dav, file)}])").status == 204


@pytest.mark.parametrize(
    "headers", [{"If": "(<DAV:no-lock>)"}, {"If-Match": "*"}, {"If-Match": '"x"'}, {"If": '(["x"])'}]
)
@pytest.mark.parametrize("method", ["PUT", "MKCOL", "LOCK"])
def test_conditions_count_on_unmapped_urls(method: str, headers: dict[str, str], dav: Dav, folder: str) -> None:
    """RFC 4918 §10.4.3, RFC 9110 §13.1.1: what asks for a state that an absent resource cannot have fails."""
    path = f"{folder}/new"
    answer = dav.lock(path, **headers) if method == "LOCK" else dav(method, path, headers=headers)
    assert answer.status == 412
    assert dav("GET", path).status == 404


@pytest.mark.parametrize("value", ["garbage", "()", "(<t>", "(<t>))", "<x>", '(["e"', "(Not)", "", "(<t>) <x> (<t>)"])
def test_a_malformed_if_is_a_bad_request(value: str, dav: Dav, file: str) -> None:
    """RFC 4918 §10.4.2."""
    assert dav("PUT", file, b"x", If=value).status == 400
    assert dav("GET", file).body == b"content"


def test_tokens_and_etags_need_no_space_between_them(dav: Dav, file: str) -> None:
    token = dav.lock(file).token
    assert dav("PUT", file, b"x", If=f"(<{token}>[{etag(dav, file)}])").status == 204


def test_an_etag_may_hold_spaces_and_brackets(dav: Dav, file: str) -> None:
    assert dav("PUT", file, b"x", If=f'(["a b) ]"]) ([{etag(dav, file)}])').status == 204


@pytest.mark.parametrize("strange", ["/-/api/v1/locks", "/-/", "/" + "n" * 256, "/" + "%C3%BC" * 200, "/f.txt/g"])
def test_a_list_about_what_is_no_resource_is_false_and_no_more(strange: str, dav: Dav, file: str) -> None:
    """RFC 4918 §10.4.3: the header is true when any list is; §10.4.4: an unmapped URL has no state to match."""
    tag = strange if strange.startswith("/-/") else file.rpartition("/")[0] + strange
    for about in (tag, dav.url(tag)):
        assert dav("PUT", file, b"x", If=f"<{about}> (<urn:x:y>) <{file}> (Not <DAV:no-lock>)").status == 204
        assert dav("PUT", file, b"x", If=f"<{about}> (<urn:x:y>)").status == 412
        assert dav("PUT", file, b"x", If=f'<{about}> (["x"])').status == 412
        assert dav("PUT", file, b"x", If=f"<{about}> (Not <urn:x:y>)").status == 204


def test_a_name_that_is_too_long_is_protected_as_any_other(dav: Dav, folder: str) -> None:
    """As every unmapped URL below a lock of depth infinity."""
    token = dav.lock(folder, Depth="infinity").token
    long = f"{folder}/{'n' * 256}"
    assert dav("PUT", f"{folder}/new", b"x", If=f"<{long}> (<{token}>)").status == 201


def test_an_untagged_list_speaks_of_the_source_alone(dav: Dav, folder: str, file: str) -> None:
    """RFC 4918 §10.4.2: a No-tag list applies to the Request-URI, not to the Destination or to members."""
    token = dav.lock(file).token
    dav("PUT", f"{folder}/b", b"there")
    assert dav("MOVE", file, Destination=dav.url(f"{folder}/b"), If=f"(<{token}>)").status == 204
    token = dav.lock(folder).token
    dav("MKCOL", f"{folder}/c", If=f"(<{token}>)")
    dav("PUT", f"{folder}/c/deep", b"x")
    assert dav("DELETE", folder, If=f"(<{token}>)").status == 204


def test_a_state_token_matches_whoever_holds_the_lock(dav: Dav, file: str) -> None:
    """RFC 4918 §10.4.4: matching is about the resource's state; whether it may be written is another question."""
    token = dav.lock(file).token
    assert dav("GET", file, If=f"(<{token}>)").status == 200
    assert dav("GET", file, If=f"(Not <{token}>)").status == 412


def test_if_modified_since_equal_to_last_modified_is_304(dav: Dav, file: str) -> None:
    """RFC 9110 §13.1.3."""
    modified = dav("HEAD", file).headers["last-modified"]
    answer = dav("GET", file, If_Modified_Since=modified)
    assert answer.status == 304
    assert answer.headers["etag"] == etag(dav, file)
    assert "content-length" not in answer.headers


def test_if_modified_since_is_for_get_and_head(dav: Dav, file: str) -> None:
    """RFC 9110 §13.1.3: ignored for other methods."""
    for date in (dav("HEAD", file).headers["last-modified"], LATER):
        assert dav("PUT", file, b"x", If_Modified_Since=date).status == 204


def test_if_none_match_silences_if_modified_since(dav: Dav, file: str) -> None:
    """RFC 9110 §13.2.2."""
    for date in ("Mon, 01 Jan 2001 00:00:00 GMT", LATER):
        assert dav("GET", file, If_None_Match=etag(dav, file), If_Modified_Since=date).status == 304
    for date in (dav("HEAD", file).headers["last-modified"], LATER):
        assert dav("GET", file, If_None_Match='"other"', If_Modified_Since=date).status == 200


def test_if_match_silences_if_unmodified_since(dav: Dav, file: str) -> None:
    """RFC 9110 §13.1.4."""
    answer = dav("PUT", file, b"x", If_Match=etag(dav, file), If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
    assert answer.status == 204


def test_entity_tags_are_not_split_at_commas_and_compare_strongly(dav: Dav, file: str) -> None:
    """RFC 9110 §8.8.3, §13.1.1."""
    tag = etag(dav, file)
    assert dav("PUT", file, b"x", If_Match=f'"a,{tag[1:-1]}"').status == 412
    assert dav("PUT", file, b"x", If_Match=f"W/{tag}").status == 412
    assert dav("PUT", file, b"x", If_Match=f'"a,b", {tag}').status == 204


def test_two_saves_of_one_size_within_a_second_have_two_etags(dav: Dav, file: str) -> None:
    """RFC 9110 §8.8.1."""
    tags = [dav("PUT", file, b"%03d" % number).headers["etag"] for number in range(200)]
    assert len(set(tags)) == 200
    assert not any(tag.startswith("W/") for tag in tags)


def test_getetag_is_quoted_and_the_same_everywhere(dav: Dav, file: str) -> None:
    """RFC 4918 §15.6."""
    put = dav("PUT", file, b"y").headers["etag"]
    assert put == etag(dav, file) == dav("GET", file).headers["etag"]
    assert dav.propfind(file, "getetag").texts("//D:getetag") == [put]
    assert put.startswith('"')
    assert put.endswith('"')

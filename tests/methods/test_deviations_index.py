"""Where stock WsgiDAV 4.4.0 bends, and the test that fails on its behaviour: conditions, writing, properties.

The numbers are those of the project's list of them. A test that is renamed or taken away is missed here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CONDITIONS = "test_condition_deviations"
WRITING = "test_writing_deviations"
PROPERTIES = "test_property_deviations"

CLOSED = {
    "C1 tagged lists of If are evaluated": f"{CONDITIONS}.test_a_tagged_list_with_an_absolute_url_is_evaluated",
    "C2 conditions count on unmapped URLs": f"{CONDITIONS}.test_conditions_count_on_unmapped_urls",
    "C3 the grammar of If is obeyed": f"{CONDITIONS}.test_a_malformed_if_is_a_bad_request",
    "C3 no space is needed": f"{CONDITIONS}.test_tokens_and_etags_need_no_space_between_them",
    "C3 ETags are not cut": f"{CONDITIONS}.test_an_etag_may_hold_spaces_and_brackets",
    "C4 untagged lists speak of the source": f"{CONDITIONS}.test_an_untagged_list_speaks_of_the_source_alone",
    "C5 whoever holds the lock": f"{CONDITIONS}.test_a_state_token_matches_whoever_holds_the_lock",
    "C6 MKCOL obeys If": "test_writing_conditions.test_where_nothing_is",
    "C7 equal times are not modified": f"{CONDITIONS}.test_if_modified_since_equal_to_last_modified_is_304",
    "C8 If-Modified-Since is for reading": f"{CONDITIONS}.test_if_modified_since_is_for_get_and_head",
    "C8 If-None-Match comes first": f"{CONDITIONS}.test_if_none_match_silences_if_modified_since",
    "C9 If-Match comes first": f"{CONDITIONS}.test_if_match_silences_if_unmodified_since",
    "C10 entity tags whole and strong": f"{CONDITIONS}.test_entity_tags_are_not_split_at_commas_and_compare_strongly",
    "C11 each version has its ETag": f"{CONDITIONS}.test_two_saves_of_one_size_within_a_second_have_two_etags",
    "C12 getetag is quoted": f"{CONDITIONS}.test_getetag_is_quoted_and_the_same_everywhere",
    "W1 short bodies": f"{WRITING}.test_a_body_shorter_than_announced_changes_nothing",
    "W2 readers during an upload": f"{WRITING}.test_a_reader_sees_the_old_file_until_the_new_one_is_whole",
    "W3 two uploads": f"{WRITING}.test_two_puts_at_once_give_one_whole_file",
    "W3 exactly one creates": f"{WRITING}.test_if_none_match_creates_exactly_once",
    "W4 COPY with Depth 0": f"{WRITING}.test_copy_with_depth_0_makes_an_empty_collection",
    "W5 Destination is split first": f"{WRITING}.test_a_destination_is_split_before_it_is_decoded",
    "W6 file over folder": f"{WRITING}.test_a_file_copied_over_a_folder_replaces_it",
    "W7 properties of members": f"{WRITING}.test_properties_of_members_follow_a_copied_collection",
    "W8 properties of what was replaced": f"{WRITING}.test_properties_of_what_was_overwritten_do_not_come_back",
    "W9 the beginning of a path": f"{WRITING}.test_only_the_beginning_of_a_path_changes_in_a_move",
    "W10 201 and 204": f"{WRITING}.test_a_new_destination_is_201_and_a_replaced_one_204",
    "W11 names too long": f"{WRITING}.test_a_name_too_long_is_the_clients_error",
    "W11 errors of the file system": "test_disk.test_a_system_call_that_fails",
    "W12 no Host": f"{WRITING}.test_a_destination_needs_no_host_header",
    "W13 MKCOL with a chunked body": f"{WRITING}.test_mkcol_with_a_chunked_body_is_415",
    "W13 two MKCOLs": f"{WRITING}.test_mkcol_races_make_one_collection_and_no_error",
    "W14 PROPPATCH is all or nothing": "test_proppatch.test_all_or_nothing_in_document_order",
    "P1 propname": f"{PROPERTIES}.test_propname_names_every_property_without_values",
    "P2 include": f"{PROPERTIES}.test_include_adds_to_allprop",
    "P3 chunked XML": f"{PROPERTIES}.test_xml_bodies_may_be_chunked",
    "P4 comments and unknown elements": f"{PROPERTIES}.test_comments_and_unknown_elements_are_ignored",
    "P5 xml:lang": f"{PROPERTIES}.test_the_language_in_scope_is_kept",
    "P6 quota of a file": f"{PROPERTIES}.test_quota_of_a_file_is_not_found",
    "P7 displayname can be set": "test_proppatch.test_a_display_name_of_ones_own",
    "P7 protected properties say so": f"{PROPERTIES}.test_protected_properties_say_so",
    "P8 strange names": f"{PROPERTIES}.test_a_strange_name_does_not_break_a_listing",
    "P8 vanishing members": f"{PROPERTIES}.test_a_vanishing_member_does_not_break_a_listing",
    "P9 Depth infinity": f"{PROPERTIES}.test_depth_infinity_is_refused_unless_switched_on",
    "P9 listings are streamed": "test_propfind.test_an_answer_begins_before_the_listing_is_complete",
    "P10 creationdate": "test_propfind.test_the_creation_date_is_not_the_time_of_a_chmod",
    "P11 no document types": f"{PROPERTIES}.test_xml_that_is_not_welcome_is_400",
    "P11 no large bodies": f"{PROPERTIES}.test_a_huge_xml_body_is_413",
}


@pytest.mark.parametrize("name", CLOSED)
def test_each_has_its_test(name: str) -> None:
    module, _, function = CLOSED[name].partition(".")
    (file,) = Path(__file__).parents[1].glob(f"*/{module}.py")
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert function in names

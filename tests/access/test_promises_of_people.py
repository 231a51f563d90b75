"""What is promised of logins and rights, and the tests that fail where a promise is not kept.

The numbers are those of the project's list of promises. A test that is renamed or taken away is missed here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

KEPT = {
    "S6 who guesses is slowed down, then banned; a right login from elsewhere still works": [
        "test_throttle.test_after_five_failures_each_attempt_waits_twice_as_long",
        "test_throttle.test_at_full_speed_fewer_than_fifteen_are_looked_at",
        "test_throttle.test_a_thousand_at_the_same_moment_are_no_way_around",
        "test_throttle.test_who_guesses_by_digest_is_no_better_off",
        "test_throttle.test_at_the_same_moment_on_many_names_it_is_none_either",
        "test_throttle.test_whoever_is_banned_is_not_told_what_is_right",
        "test_throttle.test_who_has_logged_in_is_not_stopped_by_others_there",
        "test_access.test_a_wrong_password_is_one_however_it_is_spelt",
        "test_throttle.test_another_address_and_another_user_are_not_slowed_down",
        "test_throttle.test_workers_and_the_next_start_count_together",
        "test_logins.test_a_login_from_a_banned_name_is_429_with_its_time",
        "test_logins.test_a_drive_with_a_mistyped_password_stops_nobody_else",
    ],
    "S7 known or not takes the same time": [
        "test_access.test_an_unknown_name_costs_a_hash_as_well",
        "test_access.test_an_account_without_a_password_costs_one_and_is_never_right",
        "test_accounts.test_an_unknown_name_is_compared_with_what_others_have",
        "test_digest.test_whoever_it_is_it_costs_the_same",
        "test_hashes.test_what_is_compared_here_is_compared_in_constant_time",
    ],
    "S8 Digest": [
        "test_nonces.test_nobody_else_makes_one",
        "test_nonces.test_a_count_comes_once",
        "test_nonces.test_counts_outlive_the_process",
        "test_digest.test_the_life_of_a_nonce",
        "test_digest.test_a_replay_is_refused_and_the_next_count_is_not",
        "test_digest.test_what_is_no_login",
        "test_digest.test_challenges",
        "test_logins.test_a_digest_session_over_two_workers_and_a_restart",
    ],
    "S9 how passwords are kept": [
        "test_hashes.test_a_hash_of_ours_is_argon2id",
        "test_app_passwords.test_one_is_told_once_and_kept_as_a_hash",
        "test_cli_people.test_what_digest_needs_is_made_where_it_is_on",
        "test_people.test_passwords_that_come_as_they_are_make_digests_where_those_are_on",
        "test_people.test_what_cannot_be_meant_is_said",
    ],
    "S10 rules hold for every verb and every path": [
        "test_rules.test_a_table",
        "test_rules.test_the_first_rule_that_fits_decides",
        "test_permits.test_every_method_in_every_place",
        "test_permits.test_spellings",
        "test_permits.test_copy_and_move",
        "test_permits.test_a_secret_that_appears_while_a_tree_is_copied_is_not_copied",
        "test_permits.test_a_listing_shows_what_may_be_read_and_the_ways_to_it",
        "test_permits.test_locks_are_for_what_may_be_changed",
        "test_rights.test_what_may_not_be_changed_may_not_be_locked",
        "test_restricted_logins.test_one_that_only_reads_changes_nothing",
        "test_restricted_logins.test_every_change_of_the_api_is_among_them",
    ],
    "S11 TLS": [
        "test_http_tls.test_it_speaks_tls_1_2_and_1_3_and_nothing_older",
        "test_http_tls.test_its_ciphers_are_those_of_today",
        "test_http_tls.test_handshakes_that_stand_still_hold_nobody_up",
        "test_people.test_passwords_that_anybody_on_the_way_can_read_are_warned_of",
    ],
    "S12 what is forwarded counts from configured addresses alone": [
        "test_http_parts.test_who_is_a_proxy_of_ours",
        "test_http_parts.test_the_client_is_the_last_address_that_no_proxy_vouches_away",
        "test_http_parts.test_what_strangers_forward_is_forgotten",
        "test_http_head.test_names_with_an_underscore_are_dropped",
        "test_access.test_nobody_else_does",
        "test_logins.test_past_the_proxy_nobody_is_believed",
        "test_logins.test_a_real_nginx_that_logs_users_in",
    ],
}


@pytest.mark.parametrize(("promise", "test"), [(promise, test) for promise, tests in KEPT.items() for test in tests])
def test_each_has_its_tests(promise: str, test: str) -> None:
    module, _, function = test.partition(".")
    (file,) = Path(__file__).parents[1].rglob(f"{module}.py")
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert function in names, f"nothing shows any more that {promise}"

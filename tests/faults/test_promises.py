"""What is promised, and the tests that fail where a promise is not kept.

The numbers are those of the project's list of promises: F of files, L of locks, R of resources, S of security. A test
that is renamed or taken away is missed here. What is promised of logins and rights (S6 to S10, S12) has its table with
its tests, in tests/access. Where a bar is beyond the machines that tests run on, what stands here is the nearest that
is not: R5 asks for 10 GB (tests send 600 MB: what is held is a block, however many there are), R7 for an hour (tests
take 20 seconds, `make soak` the hour), S11 for a grade that only a server on the Internet is given.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

KEPT = {
    "F1 an answered PUT survives a kill": [
        "test_kill_rounds.test_rounds_of_kills",
        "test_death.test_rounds_of_kills_under_a_mixed_load",
    ],
    "F2 a file is one whole version": [
        "test_kill_rounds.test_rounds_of_kills",
        "test_put.test_two_uploads_give_one_whole_file",
        "test_writing_deviations.test_a_reader_sees_the_old_file_until_the_new_one_is_whole",
        "test_tree.test_a_file_appears_whole",
        "test_tree.test_a_reader_keeps_its_version",
    ],
    "F3 an upload that is cut off changes nothing": [
        "test_put.test_a_sender_that_goes_away_changes_nothing",
        "test_kill.test_a_kill_in_the_middle_of_a_put_leaves_the_old_file",
        "test_http_wire.test_a_short_body_changes_nothing",
    ],
    "F4 an upload that is refused changes nothing": [
        "test_put.test_content_that_is_not",
        "test_put.test_a_file_that_grows_too_large_is_refused",
        "test_writing_conditions.test_conditions_are_judged_again_when_the_body_has_come",
        "test_disk.test_a_system_call_that_fails",
        "test_state_fails.test_a_commit_that_fails",
    ],
    "F5 a power cut": [
        "test_power_cut.test_each_change_that_was_acknowledged_outlives_it",
        "test_power_cut.test_at_any_moment_of_a_mixed_load_what_was_acknowledged_is_there",
        "test_disk.test_what_is_acknowledged_is_on_the_disk",
        "test_tree.test_a_failed_fsync_of_the_data_is_told_and_changes_nothing",
        "test_changes.test_a_copy_of_many_files_is_synced_as_a_whole",
    ],
    "F6 a failed fsync is not acknowledged": [
        "test_disk.test_a_failed_fsync_is_never_acknowledged",
        "test_state.test_what_may_not_be_on_the_disk_is_not_acknowledged",
        "test_state.test_after_a_flush_that_failed_none_is_believed_until_the_log_is_written_anew",
        "test_state.test_a_flush_that_fails_is_the_failure_of_all_who_wait_for_it",
    ],
    "F7 leftovers": [
        "test_tree.test_the_leftovers_of_a_kill_are_invisible_and_cleared_by_the_next_start",
        "test_kill_rounds.test_rounds_of_kills",
    ],
    "F8 it starts again": [
        "test_death.test_rounds_of_kills_under_a_mixed_load",
        "test_kill_rounds.test_rounds_of_kills",
        "test_staging.test_a_start_does_not_wait_for_all_to_be_cleared",
    ],
    "F9 COPY, MOVE, DELETE are done or not done": [
        "test_death.test_rounds_of_kills_under_a_mixed_load",
        "test_crashes.test_all_or_nothing_wherever_it_is_killed",
        "test_crashes.test_who_comes_upon_what_a_dead_process_left_ends_it",
        "test_kill_rounds.test_rounds_of_kills",
    ],
    "F10 a full disk": [
        "test_disk.test_a_disk_filled_to_the_brim",
        "test_disk.test_a_disk_of_the_state_filled_to_the_brim",
        "test_disk.test_a_disk_without_inodes",
        "test_put.test_a_share_that_is_full_refuses_what_makes_it_larger",
    ],
    "F11 the old file stays until the new one is whole": [
        "test_changes.test_a_replacement_that_cannot_come_leaves_the_old_one",
        "test_undone.test_an_old_file_that_cannot_step_aside_stays",
        "test_patch.test_a_disk_that_fills_while_the_new_version_is_made",
    ],
    "F12 errors tell the truth": [
        "test_oserrors.test_each_error_has_its_status",
        "test_disk.test_a_system_call_that_fails",
        "test_disk.test_what_the_file_system_does_not_permit",
        "test_strange_shares.test_what_is_no_file_is_not_there_and_stays",
        "test_strange_shares.test_a_file_that_another_program_keeps_for_itself_is_busy",
        "test_strange_shares.test_a_share_whose_folder_is_gone_is_away_and_not_empty",
        "test_exhaustion.test_no_file_may_be_opened_any_more",
        "test_undone.test_what_cannot_be_undone_is_finished_later",
    ],
    "L1 one holder": [
        "test_lock_race.test_a_race_for_the_same_paths_is_explained_by_locks_that_hold",
        "test_life_cycle.test_racing_for_one_lock_over_two_processes_gives_one_holder_at_a_time",
        "test_transaction_races.test_transactions_exclude_each_other_over_workers",
        "test_lock_rules.test_locks_conflict_that_protect_the_same_path_unless_both_are_shared",
        "test_load.test_everybody_is_answered_right_and_nothing_grows",
    ],
    "L2 nothing is written through a lock": [
        "test_lock_race.test_a_race_for_the_same_paths_is_explained_by_locks_that_hold",
        "test_lock_race.test_a_slow_upload_that_began_before_the_lock_ends_in_423",
        "test_lock_rules.test_a_claim_is_stopped_by_whatever_protects_a_path_it_changes",
        "test_changes.test_nothing_changes_without_the_proof",
    ],
    "L3 a dead token stays dead": [
        "test_lock_race.test_a_race_for_the_same_paths_is_explained_by_locks_that_hold",
        "test_lock_manager.test_what_makes_the_token_of_an_ended_lock_worthless",
        "test_lock_manager.test_numbers_are_never_used_twice",
        "test_lock_times.test_an_upload_that_outlasts_its_lock_is_refused_where_somebody_came",
    ],
    "L4 locks survive a kill, and released ones do not rise": [
        "test_lock_kills.test_rounds_of_kills",
        "test_death.test_rounds_of_kills_under_a_mixed_load",
        "test_power_cut.test_each_change_that_was_acknowledged_outlives_it",
    ],
    "L5 expiry is exact and decided by one clock": [
        "test_lock_manager.test_an_expired_lock_protects_nothing_from_that_second",
        "test_lock_clock.test_what_was_granted_while_the_clock_was_a_year_ahead_does_not_last_a_year",
        "test_lock_clock.test_what_had_expired_stays_so",
        "test_lock_clock.test_no_process_brings_back_the_time_that_was_wrong",
        "test_lock_clock.test_a_clock_that_is_set_back_between_check_and_change",
        "test_lock_times.test_a_clock_that_was_ahead_is_not_seen_in_any_answer",
    ],
    "L6 no answer without a lock check": [
        "test_state_away.test_nothing_is_changed_without_it_and_reading_goes_on",
        "test_stopped.test_others_are_told_in_time_and_readers_notice_nothing",
        "test_state.test_many_writers_do_not_wait_one_after_the_other_for_somebody_else",
        "test_gate.test_without_its_folder_nobody_passes",
    ],
    "L7 tokens": [
        "test_lock_manager.test_tokens_are_never_alike",
        "test_lock_manager.test_only_its_own_principal_passes_with_a_token",
        "test_xml.test_others_see_a_name_and_no_token",
        "test_locks.test_a_lock_is_shown_whole_and_without_its_token",
        "test_lock_times.test_a_refresh_of_somebody_elses_lock_tells_nothing",
    ],
    "L8 locks are limited, and an administrator can end them": [
        "test_lock_rules.test_timeouts_granted",
        "test_lock_manager.test_one_principal_may_hold_so_many_locks_and_no_more",
        "test_xml.test_the_owner_is_a_name_and_no_document",
        "test_cli_locks.test_list",
        "test_cli_locks.test_break",
    ],
    "R1 slow connections leave others alone": [
        "test_http_fairness.test_connections_that_trickle_cost_no_thread",
        "test_http_fairness.test_slow_uploads_do_not_stop_a_listing",
        "test_http_fairness.test_readers_that_stop_cost_no_thread",
        "test_http_fairness.test_everything_at_once_and_each_answer_right",
        "test_http_tls.test_handshakes_that_stand_still_hold_nobody_up",
        "test_exhaustion.test_no_thread_can_be_started_any_more",
    ],
    "R2 10,000 connections that do nothing": ["test_load.test_ten_thousand_connections_that_do_nothing"],
    "R3 a head and a body have their time": [
        "test_http_wire.test_what_stops_coming_is_given_up",
        "test_http_wire.test_a_body_below_the_least_rate_is_given_up",
        "test_http_parts.test_limits_of_settings",
    ],
    "R4 many clients, every answer right": [
        "test_load.test_everybody_is_answered_right_and_nothing_grows",
        "test_proxies.test_many_clients_at_once",
    ],
    "R5 memory is bounded": [
        "test_workers.test_a_worker_is_small_at_rest_and_under_large_uploads",
        "test_http_server.test_what_is_not_whole_may_not_fill_the_memory",
        "test_xml.test_a_small_body_does_not_grow_large",
        "test_xml.test_a_multistatus_does_not_run_ahead",
        "test_property_store.test_members_of_a_large_collection_are_not_all_held_in_memory",
    ],
    "R6 overload is refused at once": [
        "test_http_fairness.test_when_every_thread_waits_others_are_told_at_once",
        "test_http_fairness.test_when_all_connections_are_in_use_others_are_told_at_once",
        "test_http_server.test_nobody_waits_for_a_body_when_everybody_would_wait_with_him",
    ],
    "R7 nothing leaks": [
        "test_load.test_everybody_is_answered_right_and_nothing_grows",
        "test_state.test_threads_that_come_and_go_leave_nothing_open",
        "test_heap.test_what_is_free_is_given_back",
    ],
    "S1 nothing outside of the root": [
        "test_hostile.test_what_a_stranger_sends",
        "test_hostile.test_a_folder_that_another_process_keeps_swapping_for_a_link_leads_nowhere",
        "test_resolve.test_openat2_does_not_leave_the_root",
        "test_tree.test_a_link_swapped_in_never_leads_outside",
        "test_names.test_links_are_followed_within_the_share",
    ],
    "S2 XML": [
        "test_xml.test_a_document_type_is_refused",
        "test_xml.test_utf8_and_utf16_are_read",
        "test_xml.test_other_encodings_are_not",
        "test_xml.test_depth",
        "test_xml.test_attributes",
        "test_xml.test_an_endless_body_is_given_up_at_the_limit",
        "test_xml.test_a_heavy_body_is_decided_quickly",
    ],
    "S3 one reading of every request": [
        "test_http_wire.test_a_request_with_two_readings_gets_one_answer_and_the_end",
        "test_http_head.test_what_can_be_read_in_two_ways_is_refused",
        "test_http_bodies.test_broken_chunks_are_an_error_and_never_an_end",
        "test_http_deviations.test_a_refused_chunked_body_does_not_become_the_next_request",
    ],
    "S4 every hostile request is answered": [
        "test_hostile.test_what_a_stranger_sends",
        "test_hostile.test_there_are_enough_of_them",
    ],
    "S5 nothing becomes script": [
        "test_get.test_what_was_uploaded_is_served_as_it_is_and_runs_nowhere",
        "test_http_deviations.test_a_collection_page_keeps_the_share_and_escapes_names",
    ],
    "S11 TLS": [
        "test_http_tls.test_it_speaks_tls_1_2_and_1_3_and_nothing_older",
        "test_http_tls.test_handshakes_that_stand_still_hold_nobody_up",
        "test_people.test_passwords_that_anybody_on_the_way_can_read_are_warned_of",
    ],
    "S13 the container": [
        "test_image.test_what_it_is",
        "test_image.test_any_user_with_nothing_permitted",
    ],
    "S14 logs": [
        "test_logs.test_no_secret_and_no_token_is_ever_logged",
        "test_logs.test_nobody_writes_lines_of_his_own",
    ],
    "S15 parsers do not raise": [
        "test_fuzz.test_seeds",
        "test_fuzz.test_what_once_failed",
        "test_fuzz.test_a_few_seconds_of_fuzzing",
        "test_xml.test_parsers_raise_refusals_only",
    ],
    # The list of what is known is not to be had everywhere: the public build asks for it, each week at least.
    "S16 no known hole in what is shipped": ["test_workflows.test_known_holes_are_looked_for"],
}
#: What has its table elsewhere.
ELSEWHERE = {"S6", "S7", "S8", "S9", "S10", "S12"}


def test_every_promise_is_here() -> None:
    numbers = {f"{letter}{number}" for letter, last in (("F", 12), ("L", 8), ("R", 7), ("S", 16))
               for number in range(1, last + 1)}  # fmt: skip
    assert {promise.split()[0] for promise in KEPT} == numbers - ELSEWHERE


@pytest.mark.parametrize(("promise", "test"), [(promise, test) for promise, tests in KEPT.items() for test in tests])
def test_each_has_its_tests(promise: str, test: str) -> None:
    module, _, function = test.partition(".")
    (file,) = Path(__file__).parents[1].glob(f"**/{module}.py")
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert function in names, f"nothing shows any more that {promise}"

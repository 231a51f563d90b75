"""What is promised of files, and the tests that fail where a promise is not kept.

The numbers are those of the project's list of promises. A test that is renamed or taken away is missed here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

KEPT = {
    "F1 an answered PUT survives a kill": ["test_kill_rounds.test_rounds_of_kills"],
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
        "test_disk.test_what_is_acknowledged_is_on_the_disk",
        "test_tree.test_a_failed_fsync_of_the_data_is_told_and_changes_nothing",
        "test_changes.test_a_copy_of_many_files_is_synced_as_a_whole",
    ],
    "F6 a failed fsync is not acknowledged": ["test_disk.test_a_failed_fsync_is_never_acknowledged"],
    "F7 leftovers": [
        "test_tree.test_the_leftovers_of_a_kill_are_invisible_and_cleared_by_the_next_start",
        "test_kill_rounds.test_rounds_of_kills",
    ],
    "F8 it starts again": [
        "test_kill_rounds.test_rounds_of_kills",
        "test_staging.test_a_start_does_not_wait_for_all_to_be_cleared",
    ],
    "F9 COPY, MOVE, DELETE are done or not done": [
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
    ],
}


@pytest.mark.parametrize(("promise", "test"), [(promise, test) for promise, tests in KEPT.items() for test in tests])
def test_each_has_its_tests(promise: str, test: str) -> None:
    module, _, function = test.partition(".")
    (file,) = Path(__file__).parents[1].glob(f"*/{module}.py")
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert function in names, f"nothing shows any more that {promise}"

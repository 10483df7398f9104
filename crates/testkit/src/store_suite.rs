//! What every database must do: one entry point, [`run`], that each backend passes.
//!
//! Each check gets a fresh database, works through the ports alone, and is named in `CHECKS`. When all are done, every
//! statement of `quivive_store` must have run at least once, so none can be wrong without a check that meets it.

mod accounts;
mod answers;
mod api_keys;
mod attempts;
mod custom_events;
mod fixture;
mod guesses;
mod log;
mod nodes;
mod one_time;
mod processes;
mod retention;
mod search;
mod sessions;
mod statistics;
mod subscriptions;
mod webhooks;

use std::any::Any;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, CommitError, Committed, Fault, Head, Transaction, Value};
use quivive_store::{Dialect, Executor, Row};
use tokio::sync::watch;

use fixture::Fixture;

/// A fresh, empty database with the newest schema.
pub struct Backend {
    pub executor: Arc<dyn Executor>,
    /// What must live as long as the database, such as its directory.
    pub keep: Box<dyn Any + Send + Sync>,
}

type Check = fn(Fixture) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($family:ident { $($check:ident)* })*) => {
        /// Every check by its name.
        const CHECKS: &[(&str, Check)] = &[$($(
            (concat!(stringify!($family), "::", stringify!($check)), |fixture| Box::pin($family::$check(fixture))),
        )*)*];
    };
}

checks! {
    accounts {
        what_is_inserted_is_read_back
        a_taken_address_or_id_misses
        a_fence_misses_once_the_security_version_rose
        a_new_password_raises_all_versions_and_keeps_the_newest_old_ones
        a_stale_password_change_or_rehash_misses
        a_rotation_raises_the_two_versions_it_is_about
        an_address_is_verified_once
        administrators_are_counted_when_active
        a_state_is_set_once_and_raises_versions
        another_administrator_is_an_active_one
        an_address_is_changed_once_and_never_to_a_taken_one
        an_email_change_is_kept_until_it_ends
        who_is_erased_leaves_nothing_beside
        those_never_verified_are_found_the_oldest_first
        of_many_those_are_told_that_are_there
        taken_addresses_are_told_from_free_ones
        accounts_come_in_pages_by_id
        the_first_administrator_is_claimed_once
        an_administrator_leaves_nothing_to_claim
    }
    api_keys {
        a_key_comes_with_its_owners_standing
        a_key_is_revoked_once_and_its_use_is_noted
    }
    answers {
        a_request_is_carried_out_once_and_its_answer_kept_for_a_day
    }
    custom_events {
        a_schema_is_registered_once
        a_receipt_is_kept_once_and_for_seven_days
    }
    guesses {
        a_path_is_opened_once
        a_place_is_given_exactly_when_the_rule_says_open
        a_wrong_guess_locks_exactly_when_the_rule_says_so
        two_hundred_parallel_reservations_get_exactly_the_limit
        of_parallel_wrong_guesses_one_locks_and_all_are_counted
        a_right_password_clears_unless_locked
        a_place_is_given_back_to_its_own_window_and_never_that_of_a_wrong_guess
        the_end_of_a_row_leaves_the_rest
        unlocking_reaches_the_devices_of_the_account_alone
        a_closed_path_is_gone
        a_strangers_path_opens_by_itself_and_is_forgotten
    }
    one_time {
        what_is_inserted_is_read_back
        of_fifty_parallel_uses_one_succeeds
        an_ended_token_is_not_redeemed
        a_newer_token_ends_the_open_ones_of_its_purpose
        those_after_a_token_end_and_those_before_stay
        letters_are_counted_within_the_hour_up_to_the_limit
        of_two_hundred_parallel_letters_the_limit_is_counted
    }
    sessions {
        a_view_is_the_session_its_account_and_the_versions
        a_rotation_of_all_takes_the_next_version_and_no_deadline_moves
        a_refresh_token_comes_with_all_it_hangs_on
        of_fifty_parallel_uses_of_a_token_one_succeeds
        a_use_shows_whether_its_successor_was_used
        an_ended_session_is_neither_touched_nor_ended_again
        of_parallel_sessions_no_more_than_the_limit_are_open
        a_guard_says_whether_a_session_is_open
        open_sessions_come_oldest_first
        listed_sessions_come_with_device_and_address
        what_is_over_is_due_and_expires_once
        families_are_counted
        a_device_is_found_by_its_token_within_its_account
        of_parallel_devices_no_more_than_the_limit_are_remembered
        a_device_says_when_it_last_signed_in
        a_device_is_forgotten_once_and_a_guard_says_whether_one_is_left
        who_has_access_is_found_until_it_ends
        an_id_is_given_once
    }
    attempts {
        an_attempt_is_closed_once
        a_running_attempt_becomes_a_waiting_one_once
        abandoned_are_those_of_others_and_those_past_their_deadline
    }
    log {
        events_are_read_as_they_were_written
        the_chain_holds_over_parallel_commits
        what_names_no_passing_row_is_applied_in_its_order
        what_missed_leaves_nothing
        a_note_replaces_the_one_before
    }
    nodes {
        a_node_lives_while_it_says_so_by_the_databases_clock
        a_lease_is_claimed_once_and_guards_the_commits_of_who_has_it
        a_subjects_key_is_kept_once_and_its_end_is_remembered
        a_note_is_swapped_for_what_was_found
    }
    processes {
        a_process_moves_from_where_it_is_alone
        those_past_their_deadline_are_found_the_oldest_first
        a_profile_is_removed_by_the_process_that_made_it
    }
    retention {
        a_cut_moves_the_anchor_and_takes_log_and_index_along
        nothing_is_cut_that_somebody_needs
        the_floor_is_that_of_the_slowest
        a_log_with_a_gap_is_not_cut
        a_part_that_is_not_old_as_a_whole_stays
        archives_are_listed_oldest_first
    }
    search {
        the_index_finds_what_it_reaches_newest_first
        the_index_is_filled_where_it_ends
        who_is_forgotten_is_not_found_by_tags
        an_event_is_found_by_its_id_however_new_it_is
        what_belongs_together_is_found_oldest_first
    }
    statistics {
        sign_ins_are_counted_and_read_in_their_generation
    }
    subscriptions {
        a_replay_is_written_once_and_a_generation_only_rises
        a_subscription_is_created_once
        a_cursor_moves_forward_alone
        a_condition_is_kept_and_follows_a_new_name
        a_lane_is_written_replaced_and_dropped
        the_oldest_lanes_are_told_by_state
        a_renamed_subscription_keeps_its_cursor_and_lanes
        a_removed_subscription_takes_its_lanes_with_it
        a_backlog_is_of_some_keys_within_its_bounds
        events_are_found_at_their_positions
        dead_letters_are_told_by_what_they_have_in_common
        dead_letters_are_counted_by_kind
    }
    webhooks {
        what_is_inserted_is_read_back
        no_more_endpoints_than_the_limit
        a_change_that_was_decided_on_an_older_state_misses
        a_rotation_leaves_the_newest_and_the_one_before
        the_newest_attempts_are_kept
        a_recovery_is_a_replay_and_the_last_one_is_kept
        an_endpoint_goes_with_all_it_has
    }
}

/// Checks at work at the same time: one of them waits while another opens its database.
const AT_ONCE: usize = 4;

/// Runs every check, each on a database of its own; panics with the names of those that failed.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Backend>,
{
    let tasks = Tasks::new();
    let ran = Arc::new(Mutex::new(HashSet::new()));
    let (tasks, all_ran) = (&tasks, &ran);
    let one = async |(name, check): &(&'static str, Check)| {
        let Backend { executor, keep } = open().await;
        let dialect = executor.dialect();
        let watched = Arc::new(Watched {
            executor,
            ran: Arc::clone(all_ran),
        });
        let fixture = Fixture::new(watched, tasks.clone());
        let failed = tasks.spawn(check(fixture)).await.is_err();
        drop(keep);
        (failed.then_some(*name), dialect)
    };
    let done: Vec<_> = stream::iter(CHECKS)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failed: Vec<_> = done.iter().filter_map(|(name, _)| *name).collect();
    let dialect = done.first().map(|(_, dialect)| *dialect);
    assert!(failed.is_empty(), "failed, see above for why: {failed:#?}");
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    let dialect = dialect.expect("there are checks");
    let idle: Vec<_> = quivive_store::statements(dialect)
        .filter(|(_, _, sql)| !ran.contains(sql))
        .map(|(file, name, _)| format!("{file}::{name}"))
        .collect();
    assert!(idle.is_empty(), "no check runs {idle:?}");
}

/// Notes which statements run.
struct Watched {
    executor: Arc<dyn Executor>,
    ran: Arc<Mutex<HashSet<&'static str>>>,
}

impl Watched {
    fn note(&self, sql: impl IntoIterator<Item = &'static str>) {
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        ran.extend(sql);
    }
}

impl Executor for Watched {
    fn dialect(&self) -> Dialect {
        self.executor.dialect()
    }

    fn query(
        &self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<Row>, Fault>> {
        self.note([sql]);
        self.executor.query(sql, params)
    }

    fn apply(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.note(transaction.writes.iter().map(|write| write.sql));
        self.executor.apply(transaction)
    }

    fn scrub(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.executor.scrub()
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.executor.head()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        self.executor.settled()
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.executor.confirmed()
    }
}

//! The experiments, small: `prove` runs them long.

use std::time::Duration;

use quivive_testkit::experiments::{
    deliveries, fail_over, guesses, hostile_receivers, journey, kills, million_accounts, races,
    revocation, schemathesis, slow_clients, tamper, timing, two_nodes, undelivered, writers,
};
use quivive_testkit::{Options, Server};

use crate::support::{BINARY, server};

#[tokio::test(flavor = "multi_thread")]
async fn journey_with_the_mailbox() {
    println!(
        "{}",
        journey::run(&mut server().await, &journey::Mailbox).await
    );
}

/// T01, T16, T25.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once() {
    println!("{}", races::once_each(&server().await, 50).await);
}

/// T10.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses() {
    println!("{}", guesses::run(&server().await, 200).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn races_over_two_nodes() {
    if let Some(line) = two_nodes::run(BINARY.as_ref(), 4).await {
        println!("{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_on_two_nodes() {
    if let Some(line) = writers::run(5, Duration::from_secs(2)).await {
        println!("{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over() {
    if let Some(figures) = fail_over::run(BINARY.as_ref(), 3, true, false).await {
        assert!(figures.whole(), "{figures}");
        println!("{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_nothing_waits_for_takes_over() {
    if let Some(figures) = fail_over::run(BINARY.as_ref(), 2, false, false).await {
        assert!(
            !figures.lost.is_empty(),
            "the check proves nothing: {figures}"
        );
        println!("{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_races_a_reset() {
    println!("{}", races::login_against_reset(&server().await, 12).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_is_refused() {
    println!("{}", revocation::run(&server().await, 1, 300).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load() {
    let (breaches, line) = kills::run(&mut server().await, 5, 11).await;
    assert!(breaches.is_empty(), "{breaches:?}");
    println!("{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_posts_webhooks() {
    let options = Options::unlimited().env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
    let mut server = Server::start(BINARY, options).await;
    println!("{}", deliveries::webhooks::run(&mut server, 5, 11).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_nobody_delivered() {
    println!("{}", undelivered::run(&mut server().await, 5_000).await);
}

/// Order alone: a debug build on a busy machine says nothing about time.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_mean_no_good_beside_others() {
    let options = Options::unlimited().env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
    let server = Server::start(BINARY, options).await;
    println!("{}", hostile_receivers::run(&server, 1, 60).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_changed_by_hand() {
    let mut server = server().await;
    server.administrator().await;
    server.register("tampered@example.org").await;
    server.stop().await;
    println!("{}", tamper::run(&server).await);
}

/// T09, bytes alone: a debug build on a busy machine says nothing about time.
#[tokio::test(flavor = "multi_thread")]
async fn known_and_unknown_accounts_get_the_same_bytes() {
    for figure in timing::run(&server().await, 5, false, "").await {
        let pairs = if figure.name == "burst" { 1 } else { 5 };
        assert_eq!(figure.pairs, pairs, "{}", figure.name);
    }
}

/// Four times as many as there are places: without one for who comes last nobody else would be answered for ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_clients_stop_nobody() {
    let options = Options::unlimited().env("QUIVIVE__SERVER__MAX_CONNECTIONS", "500");
    let server = Server::start(BINARY, options).await;
    let figures = slow_clients::run(&server, 2_000, 100).await;
    println!("{figures}");
    assert!(figures.asked_again <= 3, "{figures}");
    assert!(figures.slowest < Duration::from_secs(3), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    println!("{}", schemathesis::run(&server().await, 3).await);
}

/// The figures alone: a debug build on a busy machine says nothing about rates.
#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_accounts_against_a_thousand() {
    let (few, many) = (server().await, server().await);
    let turn = Duration::from_millis(50);
    println!("{}", million_accounts::run(&few, &many, 3_000, turn).await);
}

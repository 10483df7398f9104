//! On PostgreSQL: what is dropped as a whole, and what holds that up.

use super::*;

/// Here they are: the archive's row; for each of three partitions the index and the log; and a slice.
#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_that_drops_partitions() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for commit in 1..=8 {
        for applied in [false, true] {
            let bed = due(Bed::on(&cluster).await).await;
            assert_eq!(bed.parts(), "400 800 1200 1600");
            cut_off_and_taken_up(&bed, commit, applied).await;
            assert_eq!(bed.parts(), "1600");
            let indexed = bed.ask("SELECT MIN(pos) FROM search");
            assert_eq!(indexed, "1301");
        }
    }
}

/// A dump reads the log for hours: nothing is dropped under it, nobody waits for long, and events find room all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_read_holds_up_the_dropping_of_partitions_and_nothing_else() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = due(Bed::on(&cluster).await).await;
    let Store::Postgres(server) = &bed.store else {
        panic!("it is on a server");
    };
    let dump = "BEGIN; SELECT pos FROM event LIMIT 1; SELECT pg_sleep(60)";
    let mut dump = cluster
        .client("psql")
        .args(["-Atqc", dump, &server.name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dumping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep' \
        AND datname = current_database()";
    while server.ask(dumping) != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let running = bed.engine(Arc::new(bed.database.clone()), Vec::new()).await;
    let retention = bed.retention(running);
    let held = retention.run().await;
    assert!(matches!(held, Err(Fault::Busy { .. })), "{held:?}");
    assert_eq!(bed.database.anchor().await.unwrap().position, 0);
    // Two partitions more.
    for _ in 0..3 {
        bed.append(300, "1").await;
    }
    bed.proved().await;
    assert_eq!(bed.parts(), "400 800 1200 1600 2000 2400 2800");
    server.ask(&dumping.replace('*', "pg_terminate_backend(pid)"));
    dump.wait().unwrap();
    assert_eq!(retention.run().await.unwrap().cut, 1_300);
    bed.proved().await;
    assert_eq!(bed.parts(), "1600 2000 2400 2800");
}

/// As after a fail-over to a standby that did not have it yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_gone_is_added_again() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    // More than half of the first: so the second is there.
    bed.append(201, "1").await;
    assert_eq!(bed.parts(), "400 800");
    bed.ask("DROP TABLE event_upto_800");
    bed.append(200, "1").await;
    let left = bed.database.read(0, 1_000).await.unwrap();
    assert_eq!(left.len(), 401);
    assert_eq!(bed.parts(), "400 800");
}

/// All of them look for room for the same events, in a log of which nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_add_a_partition_at_once_add_one() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let server = cluster.database();
    let mut nodes = Vec::new();
    for place in 1..=4 {
        nodes.push(node(&server, 10, place, Arc::new(Days::default())).await);
    }
    let ids = SystemIds::new(Arc::new(SystemClock));
    let commits = (0..50).flat_map(|_| &nodes).map(|node| {
        let transaction = Transaction {
            writes: Vec::new(),
            records: vec![record(&ids, KINDS[0], "1", SystemClock.now())],
        };
        Database::new(node.clone()).commit(transaction)
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap();
    }
    let database = Database::new(nodes[0].clone());
    database
        .head()
        .wait_for(|head| head.position == 200)
        .await
        .unwrap();
    let events = database.read(0, 1_000).await.unwrap();
    let mut walk = Walk::from(0, [0; 32]);
    for event in &events {
        walk.step(event).unwrap();
    }
    assert_eq!(events.len(), 200);
    // From ten to ten, with half a one to spare.
    let parts = server.ask("SELECT count(*), MAX(upto) FROM event_partition");
    assert!(["21|210", "22|220"].contains(&&*parts), "{parts}");
    for node in &nodes {
        node.close().await;
    }
}

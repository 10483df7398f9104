//! Back ends over TLS: a PostgreSQL server, whose certificate must be the right one's and for the right name.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::sync::Arc;

use quivive_outbound::SystemClock;
use quivive_store::POSTGRES_MIGRATIONS;
use quivive_store_postgres::{OpenError, Postgres, PostgresOptions};
use quivive_testkit::certificates::Authority;
use quivive_testkit::postgres::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn open(url: &str, trusted_pem: Option<&[u8]>) -> Result<Postgres, OpenError> {
    let options = PostgresOptions::new(url, trusted_pem, Arc::new(SystemClock))?;
    Postgres::open(options, POSTGRES_MIGRATIONS).await
}

/// What was said, and what is to be done.
async fn refused(url: &str, trusted_pem: Option<&[u8]>) -> (String, String) {
    match open(url, trusted_pem).await {
        Err(error @ OpenError::Tls { .. }) => {
            let said = error.to_string();
            assert!(!said.contains("geheim"), "{said}");
            let OpenError::Tls { remedy, .. } = error else {
                unreachable!()
            };
            (said, remedy)
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

/// One that says of every connection that it has no TLS.
async fn without_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    quivive_delivery::tasks::Tasks::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 8];
            let _ = stream.read_exact(&mut asked).await;
            let _ = stream.write_all(b"N").await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_reached_in_tls_with_a_certificate_that_holds_or_not_at_all() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let Some(cluster) = Cluster::encrypted(&authority.issue()) else {
        return;
    };
    let (ours, stranger) = (authority.pem(), Authority::new().unwrap().pem());
    let database = cluster.database();
    let url = cluster.network_url("localhost", &database.name);
    let store = open(&url, Some(&ours)).await.unwrap();
    let encrypted = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'quivive'";
    let counts = database.ask(encrypted);
    let (in_tls, all) = counts.split_once('|').unwrap();
    assert!(in_tls == all && all != "0", "{counts}");
    store.close().await;

    let (said, remedy) = refused(&url, None).await;
    assert!(said.contains("signed by nobody who is trusted"), "{said}");
    assert!(remedy.contains("database.ca_file"), "{remedy}");
    refused(&url, Some(&stranger)).await;
    let by_address = cluster.network_url("127.0.0.1", &database.name);
    let (said, remedy) = refused(&by_address, Some(&ours)).await;
    assert!(
        said.contains("not for 127.0.0.1") && said.contains("localhost"),
        "{said}"
    );
    assert!(remedy.contains("database.url"), "{remedy}");
    let port = without_tls().await;
    let plain = format!("postgres://u:geheim@localhost:{port}/d?sslmode=require");
    let (said, remedy) = refused(&plain, None).await;
    assert!(said.contains("it has none"), "{said}");
    assert!(remedy.contains("ssl = on"), "{remedy}");
    // Nor does this server take anybody in clear.
    let in_clear = url.replace("sslmode=require&channel_binding=require", "sslmode=disable");
    let error = open(&in_clear, None).await.err().unwrap();
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
}

//! Servers and databases that will not do.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_alone_is_refused_and_says_what_to_name() {
    let Some(pair) = Pair::start(false) else {
        return;
    };
    let said = open(&pair.standby_url()).await.err().unwrap().to_string();
    let wanted = [
        "is a standby",
        "name the primary",
        "target_session_attrs=read-write",
    ];
    assert!(wanted.iter().all(|words| said.contains(words)), "{said}");
    let opened = open(&pair.url()).await.unwrap();
    opened.close().await;
}

/// Speaks as a server would that is so old: lets everybody in, and answers the first question.
async fn answer_as_old(mut stream: TcpStream) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut question = vec![0; length as usize - 4];
    stream.read_exact(&mut question).await?;
    let columns = ["140012", "14.12", "UTF8", "off", "00000001"];
    let count = u16::try_from(columns.len()).unwrap();
    let (mut described, mut row) = (count.to_be_bytes().to_vec(), count.to_be_bytes().to_vec());
    for column in columns {
        // A name, of no table, a text of any length, as text.
        described.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
        row.extend(column.as_bytes());
    }
    for (kind, body) in [
        (b'T', described),
        (b'D', row),
        (b'C', b"SELECT 1\0".to_vec()),
    ] {
        stream.write_u8(kind).await?;
        stream
            .write_u32(u32::try_from(body.len() + 4).unwrap())
            .await?;
        stream.write_all(&body).await?;
    }
    stream.write_all(b"Z\0\0\0\x05I").await?;
    // Until the other side is gone.
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    drop(tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = answer_as_old(stream).await;
        }
    }));
    let refused = open(&format!("postgres://u@{address}/q"))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, OpenError::Old { .. }), "{refused}");
    let said = refused.to_string();
    assert!(
        said.contains("14.12") && said.contains("15 or newer"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_will_not_do_is_refused_by_name() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let refused = async |url: &str| match open(url).await {
        Ok(_) => panic!("opened {url}"),
        Err(error) => error,
    };
    let error = refused("postgres://u:hunter2@127.0.0.1:1/d").await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "cannot reach the PostgreSQL server at 127.0.0.1:1/d"
    );
    let error = refused(&cluster.url("nowhere")).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("\"nowhere\" does not exist"),
        "{error}"
    );
    for (url, wanted) in [
        ("postgres://u:hunter2@h:x/d", "cannot be read"),
        ("postgres://u:hunter2@h", "names no database"),
        ("postgres://u:hunter2@h/d", "sslmode=require"),
        (
            "postgres://u:hunter2@h/d?sslmode=verify-full",
            "cannot be read",
        ),
    ] {
        let said = refused(url).await.to_string();
        assert!(said.contains(wanted) && !said.contains("hunter2"), "{said}");
    }

    cluster.run("createdb", &["-E", "LATIN1", "-T", "template0", "latin"]);
    let error = refused(&cluster.url("latin")).await;
    assert!(
        matches!(&error, OpenError::Encoding { found, .. } if found == "LATIN1"),
        "{error}"
    );

    let bed = Bed::on(&cluster).await;
    let error = refused(&bed.server.url()).await;
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    bed.store.close().await;
    bed.server.ask("UPDATE schema_version SET version = 99");
    let error = refused(&bed.server.url()).await;
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error}"
    );
    bed.server.ask("UPDATE schema_version SET version = 1");
    bed.server.ask("UPDATE log_head SET next_pos = 5");
    assert!(
        open(&bed.server.url()).await.is_ok(),
        "an empty log says nothing"
    );
}

//! How soon it serves, how little it holds, how large it is.

use std::path::Path;
use std::time::Duration;

use quivive_testkit::{Options, Server};

use crate::Measure;

pub(crate) async fn measure(binary: &Path) -> Vec<Measure> {
    let mut server = Server::start(binary, Options::default()).await;
    server.stop().await;
    let (mut starts, mut resident) = (Vec::new(), 0.0);
    for _ in 0..7 {
        server.restart().await;
        starts.push(server.ready_after.as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_secs(1)).await;
        resident = server.resident_kib() as f64 * 1024.0 / 1e6;
        server.stop().await;
    }
    starts.sort_by(f64::total_cmp);
    let start = starts[starts.len() / 2];
    let size = std::fs::metadata(binary).unwrap().len() as f64 / 1e6;
    let at_most = |name, value: f64, unit, limit: f64| Measure {
        name,
        value,
        unit,
        limit,
        ratio: value / limit,
    };
    vec![
        at_most("start", start, "ms", 150.0),
        at_most("idle-memory", resident, "MB", 30.0),
        at_most("binary", size, "MB", 40.0),
    ]
}

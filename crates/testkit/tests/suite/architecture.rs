//! The map in ARCHITECTURE.md is the code: who depends on whom, which driver stays under which adapter, what is where.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Every edge between our crates that is allowed. Tests may know more.
const EDGES: [(&str, &[&str]); 12] = [
    ("quivive-domain", &[]),
    ("quivive-tls", &[]),
    ("quivive-consumer", &["quivive-tls"]),
    ("quivive-delivery-derive", &[]),
    ("quivive-delivery", &["quivive-delivery-derive"]),
    ("quivive-app", &["quivive-domain", "quivive-delivery"]),
    (
        "quivive-store",
        &["quivive-app", "quivive-domain", "quivive-delivery"],
    ),
    (
        "quivive-store-sqlite",
        &["quivive-store", "quivive-delivery"],
    ),
    (
        "quivive-store-postgres",
        &["quivive-store", "quivive-delivery", "quivive-tls"],
    ),
    (
        "quivive-outbound",
        &[
            "quivive-app",
            "quivive-domain",
            "quivive-delivery",
            "quivive-tls",
        ],
    ),
    (
        "quivive-web",
        &["quivive-app", "quivive-domain", "quivive-delivery"],
    ),
    (
        "quivive",
        &[
            "quivive-domain",
            "quivive-delivery",
            "quivive-app",
            "quivive-store",
            "quivive-store-sqlite",
            "quivive-store-postgres",
            "quivive-outbound",
            "quivive-consumer",
            "quivive-web",
        ],
    ),
];

/// Only tests and measurements are made of these.
const NOT_IN_THE_PRODUCT: [&str; 2] = ["quivive-testkit", "bench"];

/// Drivers, each under the crates that may use it.
const DRIVERS: [(&str, &[&str]); 10] = [
    (
        "redis",
        &[
            "quivive-consumer",
            "quivive-outbound",
            "quivive-tls",
            "bench",
        ],
    ),
    (
        "lapin",
        &["quivive-consumer", "quivive-outbound", "quivive-tls"],
    ),
    ("tokio-postgres", &["quivive-store-postgres", "bench"]),
    ("rusqlite", &["quivive-store-sqlite", "bench"]),
    ("argon2", &["quivive-outbound", "bench"]),
    ("jsonwebtoken", &["quivive-outbound", "bench"]),
    ("lettre", &["quivive-outbound"]),
    (
        "tokio-rustls",
        &["quivive-outbound", "quivive-tls", "quivive-testkit"],
    ),
    ("zxcvbn", &["quivive-domain"]),
    ("clap", &["quivive"]),
];

/// Packages of the workspace with what each depends on outside its tests.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(ROOT)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let named = |value: &Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap();
            let dependencies = all
                .iter()
                .filter(|d| d["kind"] != "dev")
                .map(named)
                .collect();
            (named(package), dependencies)
        })
        .collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let packages = packages();
    for (name, dependencies) in &packages {
        if NOT_IN_THE_PRODUCT.contains(&name.as_str()) {
            continue;
        }
        let allowed = EDGES.iter().find(|(from, _)| from == name);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{name} is not on the map in ARCHITECTURE.md"));
        let ours = dependencies
            .iter()
            .filter(|d| packages.contains_key(d.as_str()));
        for dependency in ours {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} may not know {dependency}"
            );
        }
    }
    assert!(
        EDGES.iter().all(|(name, _)| packages.contains_key(*name)),
        "the map names a crate that is gone"
    );
}

#[test]
fn each_driver_stays_under_its_adapter() {
    for (name, dependencies) in packages() {
        for (driver, users) in DRIVERS {
            let used = dependencies.contains(driver);
            assert!(
                !used || users.contains(&name.as_str()),
                "{name} may not use {driver}: it is for {users:?}"
            );
        }
    }
}

/// A name that says nothing is no name for a place.
#[test]
fn no_drawer_for_everything() {
    let mut found = Vec::new();
    walk(Path::new(ROOT).join("crates").as_path(), &mut |path| {
        if path.extension().is_none_or(|e| e != "rs") {
            return;
        }
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        if matches!(
            stem,
            "core" | "common" | "util" | "utils" | "helpers" | "misc"
        ) && !path.to_string_lossy().contains("/tests/")
        {
            found.push(path.to_owned());
        }
    });
    assert!(found.is_empty(), "{found:?}");
}

/// A newcomer goes by these paths. One with a placeholder, `<family>`, is as good as the folder before it.
#[test]
fn what_the_documents_name_is_there() {
    let mut named = 0;
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = std::fs::read_to_string(Path::new(ROOT).join(document)).unwrap();
        let in_code = text.split('`').skip(1).step_by(2);
        for path in in_code.filter(|code| code.starts_with("crates/")) {
            let known = path.split('<').next().unwrap_or_default();
            let path_is_there = Path::new(ROOT).join(known).exists();
            assert!(path_is_there, "{document} names {path}, which is not there");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} paths were found");
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, see);
        } else {
            see(&path);
        }
    }
}

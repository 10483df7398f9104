//! Secrets that must not be found again: not in the database, its write-ahead log, stdout, stderr or metrics; not in clear,
//! not as hex, not as base64.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::ground::Ground;
use crate::Server;

/// What was used, and must not be left.
#[derive(Debug, Default)]
pub struct Left {
    secrets: Vec<(String, String)>,
}

impl Left {
    pub fn add(&mut self, name: &str, secret: &str) {
        self.secrets.push((name.to_owned(), secret.to_owned()));
    }

    pub fn tokens(&mut self, tokens: &Value) {
        for name in ["access_token", "refresh_token", "device_token"] {
            if let Some(token) = tokens[name].as_str() {
                self.add(name, token);
            }
        }
    }

    /// Looks everywhere; panics with the places.
    pub fn search(&self, server: &Server, metrics: &[u8]) {
        let mut places = files(&server.data);
        places.push((
            PathBuf::from("stdout and stderr"),
            server.output().into_bytes(),
        ));
        places.push((PathBuf::from("metrics"), metrics.to_vec()));
        let database = Ground::of(&server.data).contents();
        places.push((PathBuf::from("the database"), database));
        let mut found = Vec::new();
        for (name, secret) in &self.secrets {
            for (form, pattern) in forms(secret) {
                for (path, bytes) in &places {
                    if contains(bytes, &pattern) {
                        found.push(format!("{name} as {form} in {}", path.display()));
                    }
                }
            }
        }
        assert!(found.is_empty(), "{found:?}");
    }

    /// No clear address in the log's rows, stdout, stderr or metrics. The rows are those `audit export` would see: the
    /// database is searched for events that hold it.
    pub fn search_addresses(server: &Server, word: &str, metrics: &[u8]) {
        let output = server.output().to_lowercase();
        assert!(
            !output.contains(word),
            "a clear address in stdout or stderr"
        );
        let metrics = String::from_utf8_lossy(metrics).to_lowercase();
        assert!(!metrics.contains(word), "a clear address in the metrics");
        for row in super::tamper::event_rows(&server.data) {
            assert!(
                !contains(&row, word.as_bytes()),
                "a clear address in the log"
            );
        }
    }
}

fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let raw = secret.as_bytes();
    let hex = hex(raw);
    let cut = |text: String| text.as_bytes()[..text.len() - 1].to_vec();
    let mut forms = vec![
        ("plain", raw.to_vec()),
        ("hex", hex.into_bytes()),
        ("base64", cut(STANDARD_NO_PAD.encode(raw))),
        ("reversed", raw.iter().rev().copied().collect()),
    ];
    // A token is base64url of bytes: the bytes themselves must not be found either.
    if let Ok(bytes) = URL_SAFE_NO_PAD.decode(secret)
        && bytes.len() > 16
    {
        forms.push(("its secret half", bytes[16..].to_vec()));
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)
        .expect("the data directory")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path, bytes));
        }
    }
    found
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    let Some(first) = pattern.first() else {
        return false;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(pattern) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

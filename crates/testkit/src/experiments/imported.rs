//! People who come by the product's own import, all with the passphrase that tests use.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quivive_app::ports::{Entrance, PasswordHasher as _};
use quivive_delivery::{Clock, Ids};
use quivive_domain::Password;
use quivive_outbound::argon2::{Argon2Pool, Hashing};
use quivive_outbound::{SystemClock, SystemIds};

use crate::{PASSWORD, Server};

/// Between two looks at the memory.
const GLANCE: Duration = Duration::from_millis(50);

/// What an import took of a running server.
#[derive(Debug)]
pub struct Import {
    pub took: Duration,
    /// The most memory that it held meanwhile, and what it held before.
    pub highest_kib: u64,
    pub before_kib: u64,
}

/// One of them.
pub fn email(number: usize) -> String {
    format!("person{number}@example.org")
}

/// Those with these numbers, beside the running server.
pub async fn import(server: &Server, numbers: std::ops::Range<usize>) -> Import {
    let hash = hash().await;
    let mut lines = String::new();
    for number in numbers {
        let email = email(number);
        let _ = writeln!(lines, r#"{{"email":"{email}","password_hash":"{hash}"}}"#);
    }
    load(server, &lines).await
}

/// One on each line. Panics when one of them is not there afterwards.
pub async fn load(server: &Server, lines: &str) -> Import {
    let file = server.data.with_extension("people.ndjson");
    std::fs::write(&file, lines).expect("the temporary directory is writable");
    let path = file.to_str().expect("it is text");
    let before_kib = server.resident_kib();
    let began = Instant::now();
    let args = ["users", "import", path, "--output", "json"];
    let mut highest_kib = before_kib;
    let mut command = std::pin::pin!(server.cli(&args, ""));
    let (code, said, errors) = loop {
        tokio::select! {
            ended = command.as_mut() => break ended,
            () = tokio::time::sleep(GLANCE) => highest_kib = highest_kib.max(server.resident_kib()),
        }
    };
    let took = began.elapsed();
    let _ = std::fs::remove_file(&file);
    assert_eq!(code, Some(0), "{errors}");
    let counts: serde_json::Value = serde_json::from_str(&said).expect("three counts");
    assert_eq!(counts["imported"], lines.lines().count(), "{said} {errors}");
    Import {
        took,
        highest_kib,
        before_kib,
    }
}

/// What the passphrase is stored as, under the parameters that the server has by default: nobody's is made anew.
pub async fn hash() -> String {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(clock));
    let pool = Argon2Pool::new(Hashing::default(), ids).expect("the defaults are valid");
    let ticket = pool.admit(Entrance::First).expect("nobody else is there");
    let password = Password::new(PASSWORD.to_owned()).expect("it is short enough");
    let hash = pool.hash(&ticket, &password).await;
    hash.expect("it is hashed").phc().to_owned()
}

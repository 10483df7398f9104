//! What opens doors in the first minute: the link that makes the first administrator, the key of the mailbox.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quivive_delivery::{Clock, Ids, Time};
use quivive_web::Setup;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::private;

/// How long the link of the first minute serves.
const SETUP_LIFETIME: Duration = Duration::from_mins(30);

/// Random bytes in a secret: nobody guesses one.
const SECRET_BYTES: usize = 32;

/// The link's file, for servers without a terminal.
const SETUP_FILE: &str = "setup-link";

/// The mailbox's key, in development without a mail server.
const MAILBOX_FILE: &str = "dev-mail-key";

fn random(ids: &dyn Ids) -> String {
    let mut bytes = [0; SECRET_BYTES];
    ids.random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The link that makes the first administrator, once, within its 30 minutes.
pub(crate) struct SetupLink {
    clock: Arc<dyn Clock>,
    open: Mutex<Option<Open>>,
    file: PathBuf,
}

struct Open {
    token: SecretString,
    until: Time,
}

impl SetupLink {
    /// Opened when there is no administrator yet.
    pub(crate) fn new(data: &Path, needed: bool, ids: &dyn Ids, clock: Arc<dyn Clock>) -> Self {
        let open = needed.then(|| Open {
            token: SecretString::from(random(ids)),
            until: clock.now() + SETUP_LIFETIME,
        });
        let link = Self {
            clock,
            open: Mutex::new(open),
            file: data.join(SETUP_FILE),
        };
        // What an earlier run left opens nothing.
        link.forget_file();
        link
    }

    /// The link, while it serves. A secret: for a terminal or a private file.
    pub(crate) fn url(&self, public_url: &str) -> Option<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref()
            .map(|open| format!("{public_url}/setup?token={}", open.token.expose_secret()))
    }

    /// Writes the link where the owner alone reads it, and says where.
    pub(crate) fn write(&self, url: &str) -> io::Result<&Path> {
        private::write(&self.file, &format!("{url}\n"))?;
        Ok(&self.file)
    }

    fn forget_file(&self) {
        if let Err(error) = private::remove(&self.file) {
            tracing::warn!(path = %self.file.display(), %error, "an old set-up link was not removed; it opens nothing");
        }
    }
}

impl Setup for SetupLink {
    fn admits(&self, token: &str) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| {
            let genuine = open
                .token
                .expose_secret()
                .as_bytes()
                .ct_eq(token.as_bytes());
            bool::from(genuine) && self.clock.now() < open.until
        })
    }

    fn done(&self) {
        let served = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if served.is_some() {
            self.forget_file();
        }
    }
}

/// The key of the mailbox: kept over restarts, so that an open page goes on working.
pub(crate) fn mailbox_key(data: &Path, ids: &dyn Ids) -> io::Result<SecretString> {
    let path = data.join(MAILBOX_FILE);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let kept = kept.trim();
    if URL_SAFE_NO_PAD
        .decode(kept)
        .is_ok_and(|bytes| bytes.len() == SECRET_BYTES)
    {
        return Ok(SecretString::from(kept));
    }
    let key = random(ids);
    private::write(&path, &format!("{key}\n"))?;
    Ok(SecretString::from(key))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Counting;

    impl Ids for Counting {
        fn next(&self) -> uuid::Uuid {
            uuid::Uuid::nil()
        }

        fn random(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[derive(Default)]
    struct Set(AtomicI64);

    impl Clock for Set {
        fn now(&self) -> Time {
            Time::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("qv-secrets-{name}-{}", std::process::id()));
        private::directory(&path).unwrap();
        path
    }

    #[test]
    fn the_link_admits_its_token_for_30_minutes_and_until_it_is_done() {
        let data = directory("setup");
        let clock = Arc::new(Set::default());
        let link = SetupLink::new(&data, true, &Counting, Arc::<Set>::clone(&clock));
        let url = link.url("http://localhost:8080").unwrap();
        let token = url
            .strip_prefix("http://localhost:8080/setup?token=")
            .unwrap();
        let file = link.write(&url).unwrap().to_owned();
        assert!(link.admits(token));
        assert!(
            !link.admits("") && !link.admits(&token[1..]) && !link.admits(&token.to_lowercase())
        );
        clock.0.store(30 * 60, Ordering::Relaxed);
        assert!(!link.admits(token), "its time is over");
        clock.0.store(0, Ordering::Relaxed);
        assert!(file.exists());
        link.done();
        assert!(
            !link.admits(token) && link.url("http://localhost:8080").is_none() && !file.exists()
        );
        let none = SetupLink::new(&data, false, &Counting, clock);
        assert!(!none.admits(token) && none.url("").is_none());
        let _ = std::fs::remove_dir_all(data);
    }

    #[test]
    fn the_mailbox_key_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = directory("mailbox");
        let key = mailbox_key(&data, &Counting).unwrap();
        let path = data.join(MAILBOX_FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap().trim(),
            key.expose_secret()
        );
        assert_eq!(
            mailbox_key(&data, &Counting).unwrap().expose_secret(),
            key.expose_secret()
        );
        std::fs::write(&path, "short").unwrap();
        assert_eq!(
            mailbox_key(&data, &Counting).unwrap().expose_secret().len(),
            43
        );
        let _ = std::fs::remove_dir_all(data);
    }
}

//! Certificates of the tests' own, by `openssl`: an authority, and what it has signed for a server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// An authority that nobody knows, in a directory that goes with it.
pub struct Authority {
    directory: PathBuf,
}

/// A server's, for the name `localhost` alone; in the authority's directory.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// `None` where `openssl` is not installed, which is said.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("/tmp/qv-ca-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("/tmp is writable");
        let authority = Self { directory };
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: there is no openssl here");
            return None;
        }
        let (key, certificate) = (authority.path("ca.key"), authority.file());
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=an authority of a test",
            "-keyout",
            &key,
            "-out",
            &certificate.display().to_string(),
        ]);
        Some(authority)
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    pub fn pem(&self) -> Vec<u8> {
        std::fs::read(self.file()).expect("it was made")
    }

    /// Signs one. The key can be read by whoever runs a server.
    pub fn issue(&self) -> Certificate {
        let (request, names) = (self.path("server.csr"), self.path("names"));
        std::fs::write(&names, "subjectAltName=DNS:localhost\n").expect("it was just made");
        let [key, certificate, ca, ca_key] =
            ["server.key", "server.pem", "ca.pem", "ca.key"].map(|name| self.path(name));
        self.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "1",
            "-extfile",
            &names,
            "-out",
            &certificate,
        ]);
        Certificate {
            certificate: certificate.into(),
            key: key.into(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn openssl(&self, words: &[&str]) {
        let done = Command::new("openssl").args(words).output();
        let done = done.expect("it was there before");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "{}: {said}",
            self.directory.display()
        );
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Certificate {
    /// Copies both into another directory, to be given to who runs the server.
    #[must_use]
    pub fn copied_to(&self, directory: &Path) -> Self {
        let copy = |file: &Path| {
            let to = directory.join(file.file_name().expect("it is a file"));
            std::fs::copy(file, &to).expect("a directory of this test");
            to
        };
        Self {
            certificate: copy(&self.certificate),
            key: copy(&self.key),
        }
    }
}

//! What the product drives outside itself, an adapter a file: hashing threads, keys on disk, tokens, letters, the clock.
//!
//! Each implements a port of the engine or of the product; nothing here decides anything.
//!
//! | file | port |
//! |---|---|
//! | [`argon2`] | `PasswordHasher`: Argon2id on threads and memory of its own |
//! | [`keys`] | `KeyRing`: the server's keys, in files of their own |
//! | [`vault`] | `Vault`: a key per person, wrapped, in a file of its own or, for several nodes, in their database |
//! | [`archive`] | `Archive`: signed files of what retention cut |
//! | [`backup`] | none: the files of a backup, listed and signed |
//! | [`jwt`] | `AccessTokens`: signed with Ed25519 |
//! | [`smtp`], [`mailbox`] | `Mailer`: to a mail server, or kept in memory for development |
//! | [`crm`] | `Crm`: the operator's customer relations, over HTTP |
//! | [`http`] | `Outlet`: the one way out over HTTP |
//! | `redis_streams`, `rabbitmq` | `Broker`: events out to a message broker |
//! | [`signer`] | `Signer`: signatures of webhooks |
//! | [`clock`] | `Clock` and `Ids`: the machine's |

pub mod archive;
pub mod argon2;
pub mod backup;
pub mod bus;
pub mod clock;
pub mod crm;
mod derivation;
pub mod http;
pub mod jwt;
pub mod keys;
pub mod mailbox;
mod private_file;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis_streams;
#[cfg(test)]
mod scratch;
pub mod signer;
pub mod smtp;
pub mod vault;

pub use archive::{FileArchive, Verifier};
pub use argon2::{Argon2Pool, Hashing};
pub use backup::{BackupFlaw, Contents, Listed};
pub use bus::{BusConfig, BusKind};
pub use clock::{SystemClock, SystemIds};
pub use crm::{CrmConfig, HttpCrm};
pub use http::HttpOutlet;
pub use jwt::JwtTokens;
pub use keys::{KeyError, KeyStore};
pub use mailbox::Mailbox;
pub use quivive_tls::{BadCertificates, Tls};
#[cfg(feature = "rabbitmq")]
pub use rabbitmq::RabbitMq;
#[cfg(feature = "redis")]
pub use redis_streams::RedisStreams;
pub use signer::LcSigner;
pub use smtp::{SmtpConfig, SmtpMailer};
pub use vault::{CopyError, FileVault, SharedVault};

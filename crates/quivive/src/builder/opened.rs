//! Keys, database and kernel: what a command needs, and what a server stands on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quivive_app::accounts::erasure;
use quivive_app::custom_events;
use quivive_app::kernel::{Families, Kernel, Parts};
use quivive_app::settings::Settings;
use quivive_app::switchboard;
use quivive_delivery::engine::{AtRest, Parts as EngineParts, Share};
use quivive_delivery::log::Appender;
use quivive_delivery::nodes::{Node, Nodes as _};
use quivive_delivery::seal::Vault;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Clock, Fault, Ids, Log, Time};
use quivive_outbound::{
    Argon2Pool, FileVault, HttpOutlet, JwtTokens, KeyStore, LcSigner, SharedVault, SystemClock,
    SystemIds,
};
use quivive_store::Database;

use super::Builder;
use crate::backup::Data;
use crate::config::Directories;
use crate::control::Desk;
use crate::deliveries::Deliveries;
use crate::membership::{self, Membership, SKEW};
use crate::start::StartError;
use crate::store::Store;
use crate::{fingerprints, private, restore};

/// The directory of the keys in the data directory.
pub(crate) const KEYS: &str = "keys";

/// The list of keys; it is written last, so that where it is, all of them are.
const KEY_LIST: &str = "keyring.json";

/// The data, open, with the kernel over them.
pub(crate) struct Opened {
    pub(crate) directories: Directories,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) keys: Arc<KeyStore>,
    /// The families' vault, as what it is where it is in a file.
    file_vault: Option<Arc<FileVault>>,
    /// Among the nodes of a shared database.
    membership: Option<Membership>,
    pub(crate) store: Store,
    pub(crate) database: Database,
    pub(crate) families: Arc<Families>,
    pub(crate) kernel: Arc<Kernel>,
    /// What an engine over these data works with, and what workflows see of one.
    pub(crate) engine: EngineParts,
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) tasks: Tasks,
}

impl Opened {
    pub(super) async fn open(builder: &mut Builder) -> Result<Self, StartError> {
        let directories = builder.directories.clone().ok_or(StartError::NoDirectory)?;
        let workflows = builder
            .workflows
            .take()
            .unwrap_or_else(switchboard::workflows)?;
        let in_commit = builder.in_commit.take().transpose()?.unwrap_or_default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(Arc::clone(&clock)));
        prepare(&directories)?;
        // Its lock comes first: a second server ends here, before it could make keys of its own.
        let store = Store::open(&directories, Arc::clone(&clock), ids.as_ref()).await?;
        let database = Database::new(store.executor());
        let keys = keys(&directories, &store, &database, ids.as_ref(), clock.now()).await?;
        let settings = &builder.settings;
        let keys = Arc::new(keys);
        let shared = Arc::new(database.clone());
        let node = Node {
            id: ids.next(),
            reads: membership::reads(workflows.catalogue()),
        };
        let (vault, file_vault) = vault(&store, &database, &keys, &ids)?;
        let joined = join(&store, &directories, &database, node, ids.as_ref(), &clock);
        let membership = joined.await?;
        let log: Arc<dyn Log> = Arc::clone(&shared) as _;
        let log = match builder.around_log.take() {
            Some(wrap) => wrap(log),
            None => log,
        };
        let tasks = Tasks::new();
        let catalogue = Arc::new(workflows.catalogue().clone());
        let engine = EngineParts {
            log: Arc::clone(&log),
            subscriptions: Arc::clone(&shared) as _,
            vault: Arc::clone(&vault),
            appender: Arc::new(Appender::new()),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            catalogue,
            tasks: tasks.clone(),
            share: membership.as_ref().map(|_| Share {
                nodes: Arc::clone(&shared) as _,
                me: node,
            }),
        };
        let deliveries = Arc::new(Deliveries::new(AtRest::new(engine.clone())));
        let families = Arc::new(Families {
            revocations: Arc::default(),
            accounts: Arc::clone(&shared) as _,
            guesses: Arc::clone(&shared) as _,
            one_time: Arc::clone(&shared) as _,
            sessions: Arc::clone(&shared) as _,
            api_keys: Arc::clone(&shared) as _,
            statistics: Arc::clone(&shared) as _,
            event_schemas: Arc::clone(&shared) as _,
            receipts: Arc::clone(&shared) as _,
            answers: Arc::clone(&shared) as _,
            webhooks: Arc::clone(&shared) as _,
            outlet: Arc::new(HttpOutlet::new(builder.webhooks.clone())),
            signer: Arc::new(LcSigner),
            keys: Arc::clone(&keys) as _,
            access_tokens: Arc::new(tokens(&keys, &ids, settings)),
            hasher: Arc::new(Argon2Pool::new(builder.hashing, Arc::clone(&ids))?),
            vault: Arc::clone(&vault),
            ids: Arc::clone(&ids),
            clock: Arc::clone(&clock),
            deliveries: Arc::clone(&deliveries) as _,
            skew: membership.as_ref().map_or(Duration::ZERO, |_| SKEW),
            settings: settings.clone(),
        });
        let kernel = Kernel::new(Parts {
            families: Arc::clone(&families),
            attempts: Arc::clone(&shared) as _,
            log,
            vault: Arc::clone(&families.vault),
            node: node.id,
            tasks: tasks.clone(),
            workflows,
            in_commit,
        });
        custom_events::load(families.event_schemas.as_ref(), kernel.catalogue()).await?;
        settle(&kernel, &database).await?;
        Ok(Self {
            directories,
            clock,
            ids,
            keys,
            file_vault,
            membership,
            store,
            database,
            families,
            kernel,
            engine,
            deliveries,
            tasks,
        })
    }

    /// What answers a command without a server.
    pub(crate) fn desk(&self) -> Desk {
        Desk {
            kernel: Arc::clone(&self.kernel),
            database: self.database.clone(),
            data: Data {
                directories: self.directories.clone(),
                keys: Arc::clone(&self.keys),
                vault: self.file_vault.clone(),
                clock: Arc::clone(&self.clock),
            },
            setup: None,
            operation: None,
        }
    }

    /// From now on other nodes share subscriptions and duties with this one.
    pub(crate) async fn serve(&self) -> Result<(), Fault> {
        match (&self.membership, &self.engine.share) {
            (Some(membership), Some(share)) => membership.serve(share.me.reads).await,
            _ => Ok(()),
        }
    }

    /// Ends every task, then closes the database.
    pub(crate) async fn close(self) {
        self.tasks.shut_down().await;
        self.deliveries.ended();
        if let Some(membership) = self.membership {
            membership.leave().await;
        }
        self.store.close().await;
    }
}

/// The server's keys, which are those that the database was used with.
async fn keys(
    directories: &Directories,
    store: &Store,
    database: &Database,
    ids: &dyn Ids,
    now: Time,
) -> Result<KeyStore, StartError> {
    let directory = directories.data.join(KEYS);
    let mut others = Vec::new();
    if store.is_shared() {
        others = database.living().await?;
        if !has_keys(directories) {
            fingerprints::expect_keys(&directory, database).await?;
        }
    }
    let keys = KeyStore::open(&directory, ids, now)?;
    fingerprints::compare(&keys, database, &others).await?;
    Ok(keys)
}

/// Among the nodes of a database that several share.
async fn join(
    store: &Store,
    directories: &Directories,
    database: &Database,
    node: Node,
    ids: &dyn Ids,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Membership>, StartError> {
    if !store.is_shared() {
        return Ok(None);
    }
    let place = membership::place(&directories.data, ids)?;
    let joined = Membership::join(database, node.id, place, clock);
    joined.await.map(Some)
}

fn tokens(keys: &Arc<KeyStore>, ids: &Arc<dyn Ids>, settings: &Settings) -> JwtTokens {
    JwtTokens::new(
        Arc::clone(keys),
        Arc::clone(ids),
        &settings.issuer,
        &settings.audience,
        settings.lifetimes.access_token,
    )
}

/// The keys of subjects; the second where they are in a file.
type Vaults = (Arc<dyn Vault>, Option<Arc<FileVault>>);

/// Where the keys of subjects are: in a file, which is given as what it is, too, or in a database that several share.
fn vault(
    store: &Store,
    database: &Database,
    keys: &KeyStore,
    ids: &Arc<dyn Ids>,
) -> Result<Vaults, StartError> {
    if store.is_shared() {
        let kept = Arc::new(database.clone());
        let vault = SharedVault::new(keys, kept, Arc::clone(ids), Tasks::new());
        return Ok((Arc::new(vault), None));
    }
    let vault = Arc::new(FileVault::open(keys, Arc::clone(ids))?);
    Ok((Arc::clone(&vault) as _, Some(vault)))
}

/// Ends what an earlier run left open, who was erased, and what was given before a backup.
async fn settle(kernel: &Arc<Kernel>, database: &Database) -> Result<(), StartError> {
    let recovered = kernel.recover().await?;
    if recovered.interrupted + recovered.expired > 0 {
        tracing::info!(
            interrupted = recovered.interrupted,
            expired = recovered.expired,
            "closed the attempts that an earlier run left open"
        );
    }
    let erased = erasure::apply_again(kernel).await?;
    if erased > 0 {
        tracing::warn!(
            erased,
            "erased again who came back with an older copy of the database"
        );
    }
    restore::finish(kernel, database).await?;
    Ok(())
}

fn prepare(directories: &Directories) -> Result<(), StartError> {
    private::directory(&directories.data).map_err(|source| StartError::Directory {
        path: directories.data.clone(),
        source,
    })
}

/// Whether a server was given keys.
pub(crate) fn has_keys(directories: &Directories) -> bool {
    directories.data.join(KEYS).join(KEY_LIST).exists()
}

/// Makes the keys of a new server, and answers where they are and whether it was this call that made them.
pub fn create_keys(directories: &Directories) -> Result<(PathBuf, bool), StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = SystemIds::new(Arc::clone(&clock));
    prepare(directories)?;
    let keys = KeyStore::open(&directories.data.join(KEYS), &ids, clock.now())?;
    Ok((keys.directory().to_owned(), keys.created()))
}

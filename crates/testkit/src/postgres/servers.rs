//! The databases of servers under test, when those are to be on PostgreSQL: `QUIVIVE_TEST_DATABASE=postgres`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Cluster, Database};

/// The setting that names a server's database.
pub const SETTING: &str = "QUIVIVE__DATABASE__URL";

/// By the data directories of their servers.
static IN_USE: Mutex<BTreeMap<PathBuf, Arc<Database>>> = Mutex::new(BTreeMap::new());

/// Where the server with this data directory is to have its database, if not there: the same for the same directory.
pub fn url_for(data: &Path) -> Option<String> {
    if !wanted() {
        return None;
    }
    let cluster = Cluster::shared().expect("QUIVIVE_TEST_DATABASE names it");
    let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let database = all.entry(data.to_owned());
    let database = database.or_insert_with(|| Arc::new(cluster.database()));
    Some(database.url())
}

/// Whether servers are to be on PostgreSQL.
#[expect(
    clippy::disallowed_methods,
    reason = "what the tests run with is no configuration of a server"
)]
pub fn wanted() -> bool {
    std::env::var("QUIVIVE_TEST_DATABASE").is_ok_and(|kind| kind == "postgres")
}

/// The database of the server with this data directory, where it is on PostgreSQL.
pub fn database_of(data: &Path) -> Option<Arc<Database>> {
    let all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(data).cloned()
}

/// The directory is gone, and its database goes.
pub fn forget(data: &Path) {
    let gone = IN_USE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(data);
    drop(gone);
}

//! The golden schemas: what was published stands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{files, here, workflows};

/// The folder of schemas, `<type>/v<N>.json`.
fn folder() -> PathBuf {
    here().join("schemas")
}

/// A golden schema, with the type and the version that its path names.
fn published(file: &Path) -> (String, u32, Value) {
    let kind = file.parent().and_then(Path::file_name);
    let kind = kind.and_then(|name| name.to_str()).expect("a type");
    let version = file.file_stem().and_then(|stem| stem.to_str());
    let version = version.and_then(|stem| stem.strip_prefix('v')?.parse().ok());
    let version = version.unwrap_or_else(|| panic!("{} is not v<N>.json", file.display()));
    let text = fs::read_to_string(file).expect("readable");
    let schema =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (kind.to_owned(), version, schema)
}

/// `UPDATE_GOLDEN=1` writes the schemas that are new, and changes that break no reader. Against any other change it does
/// not help: that is a new version.
#[test]
fn published_schemas_are_frozen() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a golden file is rewritten on purpose"
    )]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let workflows = workflows().expect("no name twice");
    let catalogue = workflows.catalogue();
    let broken: Vec<_> = files(&folder())
        .iter()
        .filter_map(|file| {
            let (kind, version, schema) = published(file);
            catalogue.keeps(&kind, version, &schema).err()
        })
        .map(|error| error.to_string())
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for spec in catalogue.all() {
        let file = folder()
            .join(spec.kind)
            .join(format!("v{}.json", spec.version));
        let schema = serde_json::to_string_pretty(&spec.schema).expect("JSON") + "\n";
        if update {
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(&file, schema).expect("a file");
        } else {
            let golden = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                golden,
                schema,
                "{} v{} is new, or has changed in a way that breaks no reader: UPDATE_GOLDEN=1 writes {}; look at git diff",
                spec.kind,
                spec.version,
                file.display()
            );
        }
    }
}

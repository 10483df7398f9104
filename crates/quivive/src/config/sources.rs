//! Where settings come from besides the defaults: flags, the environment, a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::layer::{Entry, Layer};
use super::problem::Problem;
use super::{environment, file};

/// What [`super::load`] reads. A test makes its own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub flags: Flags,
    pub environment: Vec<(String, OsString)>,
    pub file: FileChoice,
    /// Where data lie unless a setting says otherwise.
    pub default_data_dir: Option<PathBuf>,
}

/// Settings that have a flag.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub listen: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub database: Option<String>,
}

impl Flags {
    pub(super) fn layer(&self) -> Layer {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.display().to_string());
        let flags = [
            ("server.listen", self.listen.clone(), "--listen"),
            ("server.data_dir", data_dir, "--data-dir"),
            ("database.url", self.database.clone(), "--database"),
        ];
        let entry = |(key, value, flag): (&str, Option<String>, &str)| {
            Some(Entry::new(key, value?, flag.to_owned()))
        };
        flags.into_iter().filter_map(entry).collect()
    }
}

/// Which file is read.
#[derive(Debug, Clone)]
pub enum FileChoice {
    /// The one the operator named; it must be there.
    Named(PathBuf),
    /// The first of these that is there, if any is.
    FirstOf(Vec<PathBuf>),
}

impl Default for FileChoice {
    fn default() -> Self {
        Self::FirstOf(Vec::new())
    }
}

impl FileChoice {
    pub(super) fn read(&self) -> Result<Option<(PathBuf, Layer)>, Problem> {
        let path = match self {
            Self::Named(path) => Some(path),
            Self::FirstOf(paths) => paths.iter().find(|path| path.exists()),
        };
        path.map(|path| Ok((path.clone(), file::read(path)?)))
            .transpose()
    }

    pub(super) fn searched(&self) -> Vec<PathBuf> {
        match self {
            Self::Named(path) => vec![path.clone()],
            Self::FirstOf(paths) => paths.clone(),
        }
    }
}

impl Sources {
    /// This process's environment, and the usual files unless one is named.
    pub fn of_process(flags: Flags, file: Option<PathBuf>) -> Self {
        let environment = environment::of_process();
        let home = Home::of(&environment);
        let file = file.map_or_else(|| FileChoice::FirstOf(home.files()), FileChoice::Named);
        Self {
            flags,
            file,
            default_data_dir: home.data_dir(),
            environment,
        }
    }
}

/// The directories of whoever runs the program, by the XDG Base Directory Specification; on macOS Apple's where that is
/// silent.
struct Home<'e>(&'e [(String, OsString)]);

impl<'e> Home<'e> {
    fn of(environment: &'e [(String, OsString)]) -> Self {
        Self(environment)
    }

    fn files(&self) -> Vec<PathBuf> {
        let user = self
            .directory("XDG_CONFIG_HOME", ".config")
            .map(|dir| dir.join("quivive/config.toml"));
        [
            Some("quivive.toml".into()),
            user,
            Some("/etc/quivive/config.toml".into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn data_dir(&self) -> Option<PathBuf> {
        let default = if cfg!(target_os = "macos") {
            "Library/Application Support"
        } else {
            ".local/share"
        };
        self.directory("XDG_DATA_HOME", default)
            .map(|dir| dir.join("quivive"))
    }

    /// A relative path is invalid by the specification, and ignored.
    fn directory(&self, variable: &str, under_home: &str) -> Option<PathBuf> {
        let get = |name: &str| {
            let value = self
                .0
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| Path::new(value));
            value.filter(|path| path.is_absolute())
        };
        get(variable).map_or_else(
            || Some(get("HOME")?.join(under_home)),
            |dir| Some(dir.to_owned()),
        )
    }
}

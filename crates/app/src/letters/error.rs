//! What can be wrong with a letter.

use std::path::PathBuf;

use super::TEMPLATE_BYTES_MAX;

/// Why letters could not be loaded, or one could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The folder of overrides, or a file in it, could not be read (or is not UTF-8).
    #[error("cannot read {}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file in the folder replaces nothing.
    #[error(
        "{} replaces no letter: files are named <code>.<en|pt>.<subject|txt|html> (welcome.en.txt), layout.<txt|html> or details.<txt|html>",
        path.display()
    )]
    UnknownFile {
        /// The file nobody would read.
        path: PathBuf,
    },
    /// A file in the folder is too large for a letter.
    #[error("{} is larger than {TEMPLATE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A template does not compile or does not render.
    #[error("the template {file} is not usable")]
    Template {
        /// The path of the override, or the name of the built-in template.
        file: String,
        /// What the template engine says.
        source: minijinja::Error,
    },
    /// An override gives a letter without a subject.
    #[error("the template {file} gives an empty subject")]
    EmptySubject {
        /// The file.
        file: String,
    },
    /// An override of a letter that needs a link does not give it (in text: on a line of its own), or a layout does not
    /// give the body.
    #[error(
        "the template {file} must hold {{{{ link }}}} (a layout: {{{{ body }}}}), in text on a line of its own"
    )]
    LinkLost {
        /// The file.
        file: String,
    },
    /// The caller gave no link to a letter that needs one.
    #[error("the letter {template} needs a link")]
    LinkMissing {
        /// The code of the letter.
        template: &'static str,
    },
    /// The link is not an `http` or `https` address of printable ASCII without quotes, brackets or spaces. It is not
    /// shown, because it may hold a token.
    #[error("the link for the letter {template} is not an http(s) address in printable ASCII")]
    LinkUnusable {
        /// The code of the letter.
        template: &'static str,
    },
}

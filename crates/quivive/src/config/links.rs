//! `[links]`: where the links in letters lead.

use quivive_app::settings::Links as Templates;
use serde::Deserialize;

use super::report::Report;

/// Replaced in a template by the token.
const TOKEN: &str = "{token}";

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Links {
    verify: Option<String>,
    reset: Option<String>,
    forgot: Option<String>,
    change_email: Option<String>,
    revert_email: Option<String>,
}

impl Links {
    pub(super) fn check(&self, public_url: &str, report: &mut Report<'_>) -> Templates {
        let hosted = Templates::hosted(public_url);
        Templates {
            verify: template(
                "links.verify",
                self.verify.as_deref(),
                true,
                hosted.verify,
                report,
            ),
            reset: template(
                "links.reset",
                self.reset.as_deref(),
                true,
                hosted.reset,
                report,
            ),
            forgot: template(
                "links.forgot",
                self.forgot.as_deref(),
                false,
                hosted.forgot,
                report,
            ),
            change_email: template(
                "links.change_email",
                self.change_email.as_deref(),
                true,
                hosted.change_email,
                report,
            ),
            revert_email: template(
                "links.revert_email",
                self.revert_email.as_deref(),
                true,
                hosted.revert_email,
                report,
            ),
        }
    }
}

fn template(
    key: &str,
    given: Option<&str>,
    token: bool,
    hosted: String,
    report: &mut Report<'_>,
) -> String {
    let Some(text) = given else {
        return hosted;
    };
    if !text.starts_with("https://") && !text.starts_with("http://") {
        report.bad(
            key,
            &format!("= {text:?} is not a web address"),
            "write the whole address, beginning with https://",
        );
    }
    if text.contains(TOKEN) != token {
        let (what, remedy) = if token {
            (
                "has no {token}",
                "write {token} where the token goes: https://www.example.org/reset?token={token}",
            )
        } else {
            ("has a {token}", "remove it: this link carries none")
        };
        report.bad(key, &format!("= {text:?} {what}"), remedy);
    }
    text.to_owned()
}

//! `[provisioning]`: who is told of new accounts, as the last step of a process that is undone when it fails.

use quivive_domain::webhook::{Target, is_public};
use quivive_outbound::crm::CrmConfig;
use serde::Deserialize;

use super::report::Report;
use super::secret::Secret;

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Provisioning {
    crm_url: Option<String>,
    crm_token: Option<Secret>,
}

impl Provisioning {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<CrmConfig> {
        let Some(text) = &self.crm_url else {
            if self.crm_token.is_some() {
                let remedy = "write where the customer relations are, or leave the token out";
                report.bad(
                    "provisioning.crm_url",
                    "is missing beside its token",
                    remedy,
                );
            }
            return None;
        };
        let remedy = "write an https URL, such as https://crm.example.org/contacts; http only to a private address";
        let target = match Target::parse(text) {
            Ok(target) => target,
            Err(unfit) => {
                report.bad(
                    "provisioning.crm_url",
                    &format!("will not do: {unfit}"),
                    remedy,
                );
                return None;
            }
        };
        let near =
            target.host() == "localhost" || target.address().is_some_and(|ip| !is_public(ip));
        if !target.is_encrypted() && !near {
            let what = "would send addresses of people unencrypted";
            report.bad("provisioning.crm_url", what, remedy);
            return None;
        }
        Some(CrmConfig {
            target,
            token: self.crm_token.clone().map(|secret| secret.0),
        })
    }
}

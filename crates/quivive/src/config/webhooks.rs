//! `[webhooks]`: what may be called besides the public Internet.
//!
//! There is no switch that allows every private address. What may be reached inside is named, network by network, so that
//! an administrator of accounts does not become one of the machines around the server.

use std::net::IpAddr;

use ipnet::IpNet;
use quivive_domain::webhook::Reach;
use serde::Deserialize;

use super::report::Report;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Webhooks {
    allow_networks: Vec<String>,
    ports: Vec<u16>,
}

impl Webhooks {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Reach {
        let network = |text: &String| {
            if let Ok(ip) = text.parse::<IpAddr>() {
                return Some(IpNet::from(ip));
            }
            let remedy = "write addresses or networks: 10.0.0.5 or 10.0.0.0/8";
            let what = "an address or a network";
            report.parse("webhooks.allow_networks", text, what, remedy)
        };
        Reach {
            networks: self.allow_networks.iter().filter_map(network).collect(),
            ports: self.ports.clone(),
        }
    }
}

//! Revoke a device. So far it happens by itself: a new password forgets the devices that the old one let in, and a device
//! too many the one that was longest unused.

use quivive_domain::DeviceId;

use crate::ports::Device;
use crate::workflows::prelude::*;

#[derive(Event)]
#[event(
    type = "device.revocation.attempted",
    version = 1,
    name = "DeviceRevocationAttempted",
    audit = "DEVICE_REVOCATION_ATTEMPTED"
)]
pub struct Attempted {
    pub device_id: DeviceId,
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "device.revocation.succeeded",
    version = 1,
    name = "DeviceRevoked",
    audit = "DEVICE_REVOCATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub device_id: DeviceId,
    pub user_id: UserId,
    pub sessions_ended: u32,
    pub reason: Reason,
}

/// Adds the triple of an automatic revocation to the commit that causes it.
pub fn automatically(commit: &mut Commit, device: &Device, sessions_ended: usize, reason: Reason) {
    let (device_id, user_id) = (device.id, device.account);
    commit.also(
        &Attempted { device_id, user_id },
        &Succeeded {
            device_id,
            user_id,
            sessions_ended: u32::try_from(sessions_ended).unwrap_or(u32::MAX),
            reason,
        },
    );
}

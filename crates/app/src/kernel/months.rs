//! What belongs to no account is sealed, and digested, under the key of its month, which is destroyed 90 days after that month.

use std::time::Duration;

use quivive_delivery::{Fault, Time};

use super::execute::Kernel;

const KEPT: Duration = Duration::from_hours(90 * 24);

/// A step that meets each month.
const SHORTEST_MONTH: Duration = Duration::from_hours(28 * 24);
/// Ten years of them and more: also where the server was off for long.
const LOOK_BACK: u32 = 140;

/// `2026-11`, in UTC.
pub(crate) fn month(time: Time) -> String {
    let text = time.to_string();
    text.get(..7).unwrap_or("0000-00").to_owned()
}

/// `m:2026-11`.
pub(crate) fn month_vault_key(now: Time) -> String {
    month_key(&month(now))
}

fn month_key(month: &str) -> String {
    format!("m:{month}")
}

/// The months before that of a time, newest first.
pub(crate) fn months_before(time: Time) -> impl Iterator<Item = String> {
    let mut last = month(time);
    let times = (1..=LOOK_BACK).map(move |step| {
        let back = SHORTEST_MONTH * step;
        time.checked_sub(back).unwrap_or(Time::MIN)
    });
    times.filter_map(move |time| {
        let month = month(time);
        (month != last).then(|| month.clone_into(&mut last))?;
        Some(last.clone())
    })
}

/// In the oldest month whose key is kept.
pub(super) fn oldest_kept(now: Time) -> Time {
    now.checked_sub(KEPT).unwrap_or(Time::MIN)
}

impl Kernel {
    /// Destroys the keys of months that are long over. Says how many.
    pub async fn forget_months(&self) -> Result<u32, Fault> {
        let mut destroyed = 0;
        for month in months_before(oldest_kept(self.families.clock.now())) {
            destroyed += u32::from(self.vault.destroy(&month_key(&month)).await?);
        }
        Ok(destroyed)
    }
}

#[cfg(test)]
mod tests {
    use quivive_delivery::seal::Vault as _;

    use super::*;
    use crate::testing::nobody;

    #[tokio::test]
    async fn a_month_is_forgotten_when_it_has_been_over_for_90_days() {
        let scene = nobody();
        let now = month(scene.world.now());
        assert_eq!(now, "2026-11");
        let all = [
            "2026-11", "2026-09", "2026-08", "2026-07", "2026-02", "2016-12",
        ];
        for month in all {
            scene.world.key(&month_key(month)).await.unwrap();
        }
        assert_eq!(scene.kernel.forget_months().await.unwrap(), 3);
        assert_eq!(scene.kernel.forget_months().await.unwrap(), 0);
        for (month, kept) in all.into_iter().zip([true, true, true, false, false, false]) {
            let key = scene.world.existing(&month_key(month)).await.unwrap();
            assert_eq!(key.is_some(), kept, "{month}");
        }
    }
}

//! How the program is linked.

use std::process::Command;

/// The first glibc that reads packed relocations.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A program that can be loaded anywhere is told at each start where its pointers are: packed, that list is 20 KB instead of
    // 1.3 MB, in the file and in memory.
    if glibc().is_some_and(|version| version >= GLIBC) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// This machine's, if the program is made for this machine and has one.
#[expect(
    clippy::disallowed_methods,
    reason = "it is how cargo talks to a build script"
)]
fn glibc() -> Option<(u32, u32)> {
    let variable = |name| std::env::var(name).ok();
    if variable("TARGET")? != variable("HOST")? || variable("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return None;
    }
    let told = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

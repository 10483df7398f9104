//! A thread that hashes: one after the other, in blocks of its own.
//!
//! While it computes it may be stopped for as long as others want its core ([`Share::Spare`]). So it holds no lock that anybody
//! waits for, and whoever waits for a hash is told by the clerk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use ::argon2::Block;
use ::argon2::password_hash::phc::Output;
use quivive_domain::Password;

use super::share::{RunTime, Share};
use super::target::Target;

/// Of a thread's blocks at the least, when they are large at all. glibc gives what is larger than 32 MiB back to the
/// system as soon as it is freed, and keeps what is smaller; blocks that are never touched cost nothing.
const MIN_RESERVED_BLOCKS: usize = 33 * 1_024;
/// Blocks up to this many are an ordinary allocation.
const FEW_BLOCKS: usize = 1_024;
/// Something to compute, and before it to free the blocks.
const ORDERS: usize = 2;
/// A hash needs some 20 kB of stack; the rest is for the report of a panic.
const STACK_BYTES: usize = 512 * 1_024;

/// What to compute.
#[cfg_attr(
    test,
    expect(
        clippy::large_enum_variant,
        reason = "the small one is there for tests"
    )
)]
pub(super) enum Work {
    Hash {
        password: Password,
        target: Target,
    },
    #[cfg(test)]
    Call(Box<dyn FnOnce() + Send>),
}

impl Work {
    /// The same once more, for another thread.
    #[cfg_attr(
        not(test),
        expect(clippy::unnecessary_wraps, reason = "a test's call is made once")
    )]
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Hash { password, target } => Some(Self::Hash {
                password: password.clone(),
                target: target.clone(),
            }),
            #[cfg(test)]
            Self::Call(_) => None,
        }
    }
}

/// What came of it.
pub(super) enum Computed {
    Hash(Output),
    /// The algorithm refuses, which it was asked before, or it panicked: nothing could be hashed.
    Nothing,
    #[cfg(test)]
    Called,
}

/// What a thread is told.
pub(super) enum Order {
    Compute(Box<Work>),
    /// There is nothing to do for now.
    FreeBlocks,
}

/// A thread, as who tells it what to do sees it. It ends when this is dropped.
pub(super) struct Worker {
    pub(super) share: Share,
    pub(super) ran: Option<RunTime>,
    orders: SyncSender<Order>,
    handle: JoinHandle<()>,
}

impl Worker {
    /// `done` is called on the thread, for each order to compute. `usual_blocks` are what a hash under the current
    /// parameters needs: more than those are not kept.
    pub(super) fn start(
        share: Share,
        usual_blocks: usize,
        done: impl Fn(Computed) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, told) = sync_channel(ORDERS);
        let (tell, hear) = sync_channel(1);
        let serve = move || {
            // Before it gives way to all others: somebody waits for it.
            let _ = tell.send(RunTime::of_this_thread());
            share.take();
            serve(&told, usual_blocks, done);
        };
        let handle = Builder::new()
            .name("password-hash".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(serve)?;
        Ok(Self {
            share,
            ran: hear.recv().ok().flatten(),
            orders,
            handle,
        })
    }

    pub(super) fn tell(&self, order: Order) {
        // It listens until this is dropped, and panics are caught.
        let _ = self.orders.send(order);
    }

    /// Ends the thread after what it is at, and waits for that.
    pub(super) fn end(self) {
        drop(self.orders);
        // Panics are caught inside.
        let _ = self.handle.join();
    }
}

fn serve(told: &Receiver<Order>, usual_blocks: usize, done: impl Fn(Computed)) {
    let mut blocks = Vec::new();
    for order in told {
        match order {
            Order::Compute(work) => {
                // Blocks are plain memory, written from the start by every hash: a panic leaves nothing in them that matters.
                let computed =
                    catch_unwind(AssertUnwindSafe(|| work.run(&mut blocks, usual_blocks)));
                done(computed.unwrap_or_else(|_| {
                    tracing::error!("a password hash panicked");
                    blocks = Vec::new();
                    Computed::Nothing
                }));
            }
            Order::FreeBlocks => blocks = Vec::new(),
        }
    }
}

impl Work {
    fn run(self, blocks: &mut Vec<Block>, usual: usize) -> Computed {
        match self {
            Self::Hash { password, target } => {
                let needed = target.blocks();
                if blocks.len() < needed {
                    *blocks = reserve(needed);
                }
                let computed = target.compute(password.expose().as_bytes(), blocks);
                if needed > usual {
                    // Made for one hash with older, larger parameters.
                    *blocks = Vec::new();
                }
                computed.map_or(Computed::Nothing, Computed::Hash)
            }
            #[cfg(test)]
            Self::Call(call) => {
                call();
                Computed::Called
            }
        }
    }
}

fn reserve(needed: usize) -> Vec<Block> {
    let capacity = if needed <= FEW_BLOCKS {
        needed
    } else {
        needed.max(MIN_RESERVED_BLOCKS)
    };
    let mut blocks = Vec::with_capacity(capacity);
    blocks.resize(needed, Block::new());
    blocks
}

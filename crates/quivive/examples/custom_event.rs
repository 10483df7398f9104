//! Events of one's own: a workflow of the embedding program, run by the same kernel, in the same log as those of Quivive.
//!
//! ```text
//! cargo run --example custom_event
//! ```
//! A program of its own has `quivive-delivery` beside `quivive` in its dependencies: that is what the derives name.
//! Programs in other languages append events over HTTP instead: `POST /api/v1/events`, with an API key and a registered schema.

use std::path::Path;

use quivive::app::kernel::{self, Commit, Run, Subject, Workflow, refuse, succeed};
use quivive::app::switchboard::Workflows;
use quivive::delivery::{Event, Fault, Reason};
use quivive::{Builder, Cx, Outcome, Received, Request, subscriber};
use tokio::sync::mpsc;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// One command: it raises Attempted, then exactly one of Succeeded and Failed.
struct PlaceOrder {
    order: u64,
    lines: u32,
}

#[derive(Event)]
#[event(
    type = "shop.order.attempted",
    version = 1,
    name = "OrderAttempted",
    audit = "ORDER_ATTEMPTED"
)]
struct OrderAttempted {
    order: u64,
}

#[derive(Event)]
#[event(
    type = "shop.order.succeeded",
    version = 1,
    name = "OrderSucceeded",
    audit = "ORDER_SUCCEEDED"
)]
struct OrderSucceeded {
    order: u64,
    lines: u32,
}

#[derive(Event)]
#[event(
    type = "shop.order.failed",
    version = 1,
    name = "OrderFailed",
    audit = "ORDER_FAILED"
)]
struct OrderFailed {
    order: u64,
    reason: kernel::Reason,
}

/// A fact: it stands alone, in the commit of what it came with.
#[derive(Event)]
#[event(
    type = "shop.stock_reserved",
    version = 1,
    name = "StockReserved",
    audit = "STOCK_RESERVED"
)]
struct StockReserved {
    order: u64,
    pieces: u32,
}

/// A business "no" becomes `OrderFailed { reason: "nothing_ordered" }`.
#[derive(Debug, PartialEq, Reason)]
enum Refusal {
    NothingOrdered,
}

impl Workflow for PlaceOrder {
    const NAME: &'static str = "order";
    type Attempted = OrderAttempted;
    type Succeeded = OrderSucceeded;
    type Failed = OrderFailed;
    type Refusal = Refusal;
    type Reply = u64;

    /// Events with one key reach every subscriber in order; these share that of the system.
    async fn subject(&self, _: &kernel::Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> OrderAttempted {
        OrderAttempted { order: self.order }
    }

    fn failed(attempted: &OrderAttempted, _: &Subject, reason: kernel::Reason) -> OrderFailed {
        OrderFailed {
            order: attempted.order,
            reason,
        }
    }

    async fn run(&self, _: &kernel::Cx) -> Run<Self> {
        if self.lines == 0 {
            return refuse(Refusal::NothingOrdered);
        }
        let mut commit = Commit::default();
        commit.fact(&StockReserved {
            order: self.order,
            pieces: self.lines,
        });
        let succeeded = OrderSucceeded {
            order: self.order,
            lines: self.lines,
        };
        succeed(commit, succeeded, self.order)
    }
}

/// Types of the program are subscribed to as the others are.
#[subscriber(name = "warehouse", on = OrderSucceeded)]
async fn warehouse(
    told: &mpsc::Sender<String>,
    placed: &Received<OrderSucceeded>,
    _: &mut Cx,
) -> Outcome {
    let text = format!("order {} has {} lines", placed.order, placed.lines);
    told.send(text)
        .await
        .map_or(Outcome::Retry("nobody listens".into()), |()| Outcome::Done)
}

/// So is a family of them, in the order in which they happened.
#[subscriber(name = "journal", on = "shop.*")]
async fn journal(told: &mpsc::Sender<String>, event: &Received, _: &mut Cx) {
    let _ = told.send(event.envelope().kind.clone()).await;
}

/// Runs a server with these events in a directory; what the warehouse was told, and the journal.
pub(crate) async fn run(directory: &Path) -> Result<(String, Vec<String>), Error> {
    let (to_warehouse, mut warehouse_heard) = mpsc::channel(8);
    let (to_journal, mut journal_heard) = mpsc::channel(8);
    let server = Builder::new()
        .sqlite(directory)
        .register(|all: Workflows| all.workflow::<PlaceOrder>()?.fact::<StockReserved>())
        .subscribe(warehouse(to_warehouse))
        .subscribe(journal(to_journal))
        .build()
        .await?;
    let kernel = server.kernel();
    let empty = PlaceOrder { order: 1, lines: 0 };
    let refused = kernel.execute(empty, Request::system()).await;
    assert!(refused.is_err(), "nothing was ordered");
    let order = PlaceOrder { order: 2, lines: 3 };
    let placed = kernel.execute(order, Request::system()).await;
    assert_eq!(placed.ok(), Some(2));
    let told = warehouse_heard
        .recv()
        .await
        .ok_or("the warehouse was not told")?;
    let mut kinds = Vec::new();
    while kinds
        .last()
        .is_none_or(|kind| kind != "shop.stock_reserved")
    {
        kinds.push(
            journal_heard
                .recv()
                .await
                .ok_or("the journal was not told")?,
        );
    }
    server.shut_down().await;
    Ok((told, kinds))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().init();
    let (told, kinds) = run(Path::new("custom-event-data")).await?;
    tracing::info!(told, ?kinds, "done");
    Ok(())
}

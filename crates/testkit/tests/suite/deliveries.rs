//! The experiment of the same name, small.

use quivive_testkit::experiments::deliveries::{self, Program};

#[tokio::test]
async fn killed_at_each_step_of_a_delivery() {
    let program = Program {
        path: env!("CARGO_BIN_EXE_prove").into(),
        arg: "serve-and-die",
    };
    println!("{}", deliveries::run(&program, 1, 7, "").await);
}

//! The experiment of the same name, small.

use std::path::Path;

use quivive_testkit::experiments::deliveries;

#[tokio::test]
async fn killed_at_each_step_of_a_delivery() {
    let program = Path::new(env!("CARGO_BIN_EXE_prove"));
    println!("{}", deliveries::run(program, "deliver", 1, 7).await);
}

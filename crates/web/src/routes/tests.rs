//! What each route answers, over an in-memory world.

mod answers;
mod sameness;
mod shapes;
mod statistics;
mod step_up;
mod vetoes;

use std::collections::HashSet;

use quivive_app::testing::{NEW_PASSWORD, PASSWORD, account, account_of, given, nobody};
use quivive_domain::AccountState;
use quivive_domain::one_time::Purpose;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::openapi;
use crate::testing::{Answer, Server, ask, get, post};

fn register(email: &str, password: &str) -> crate::testing::Ask {
    post(
        "/api/v1/users",
        &json!({"email": email, "password": password}),
    )
}

fn sign_in(email: &str, password: &str) -> crate::testing::Ask {
    post(
        "/api/v1/sessions",
        &json!({"email": email, "password": password}),
    )
}

fn refresh(token: &Value) -> crate::testing::Ask {
    post("/api/v1/tokens", &json!({"refresh_token": token}))
}

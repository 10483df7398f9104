//! Every workflow, by family: one file each with its command, its events, its refusals and its steps. Its tests are at the
//! file's end or, where they are long, in a file beside it.

/// Some of a workflow's refusals are what others say no with, under the same names.
macro_rules! also_refuses {
    ($other:ident: $($refusal:ident),+) => {
        impl From<$other> for Refusal {
            fn from(other: $other) -> Self {
                match other {
                    $($other::$refusal => Self::$refusal,)+
                }
            }
        }
    };
}

pub mod accounts {
    pub mod change_email;
    pub mod confirm_email_change;
    pub mod deactivate_user;
    pub mod erase_account;
    pub mod export_data;
    pub mod lock_user;
    pub mod reactivate_user;
    pub mod register_user;
    pub mod request_email_verification;
    pub mod revert_email_change;
    pub mod unlock_user;
    pub mod verify_email;
}

pub mod api_keys {
    pub mod create_api_key;
    pub mod revoke_api_key;
}

pub mod delivery {
    pub mod change_subscription;
}

pub mod operators {
    pub mod back_up;
    pub mod bootstrap_administrator;
    pub mod import_users;
    pub mod register_event_schema;
    pub mod restore;
    pub mod rotate_signing_key;
}

pub mod passwords {
    pub mod change_password;
    pub mod confirm_password_reset;
    pub mod request_password_reset;
}

pub mod rotations {
    pub mod rotate_all_tokens;
    pub mod rotate_user_tokens;
}

pub mod sessions {
    pub mod log_in;
    pub mod log_out;
    pub mod refresh_tokens;
    pub mod revoke_all_sessions;
    pub mod revoke_device;
    pub mod revoke_session;
    pub mod step_up;
}

pub mod webhooks {
    pub mod change_endpoint;
}

/// What every workflow file needs.
pub(crate) mod prelude {
    pub(crate) use quivive_delivery::{Event, Fault, Reason as Reasons};
    pub(crate) use quivive_domain::{
        Account, Address, Email, Password, Permission, SessionId, TokenId, UserId,
    };

    pub(crate) use crate::kernel::{
        Commit, Cx, Reason, Reservation, Run, Subject, Workflow, refuse, refuse_with, succeed,
    };
}

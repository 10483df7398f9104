//! placeholder: in-memory stand-ins

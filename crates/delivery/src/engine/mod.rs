//! placeholder: the engine

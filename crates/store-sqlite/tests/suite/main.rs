//! The SQLite store as its callers see it: commits, crashes, full disks, stops.

mod bed;
mod checkpoint;
mod commit;
mod crash;
mod open;
mod snapshot;
mod space;
mod stop;

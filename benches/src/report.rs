//! What was found, told.

pub mod table;

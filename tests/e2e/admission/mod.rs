//! More visitors than there is room for, and more runs than may go on at a time.

mod flood;
mod line;
mod turns;
mod visitor;

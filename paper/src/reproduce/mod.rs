//! The tables and figures of the paper, one file each: which runs they need, and what they show of the finished runs.
//!
//! Nothing is searched here: a reproduction names its runs (folder and settings), a sweep works on them, and what they left on
//! disk is read back. So a reproduction that was interrupted goes on with the runs that are not finished.

pub mod cells;
pub mod figure_1;
pub mod memory;
pub mod section_4_4;
pub mod table;
pub mod table_3;

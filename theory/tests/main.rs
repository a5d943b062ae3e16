//! The ledger of claims and the closed forms, and that the checks notice mistakes.

mod broken;
mod closed_forms;
mod ledger;

//! What the benches share: comparable timings, and a report for comparison over time.

pub mod measure;
pub mod report;

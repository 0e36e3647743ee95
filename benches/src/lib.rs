//! What the benches share: fair timing, and a report that can be compared over time.

pub mod measure;
pub mod report;

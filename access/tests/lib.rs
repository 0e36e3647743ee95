//! The tests of Strongroom's access rules from outside, without the optimisation that the explorations in their crate need.

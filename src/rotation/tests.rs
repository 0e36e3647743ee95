//! The engine under a clock that tests set forward, with an issuer and a store in memory.

mod agreement;
mod attempts;
mod crash;
mod delegate;
mod ends;
mod instances;
mod issuer;
mod leaked;
mod mortal;
mod order;
mod places;
mod refused;
mod replicas;
mod schedule;
mod stores;
mod troubles;
mod unkind;
mod years;

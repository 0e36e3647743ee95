//! What the process does before it reads anything secret.

/// Keeps memory out of core dumps, and other processes of the same user from reading it: both could show
/// values.
pub(crate) fn harden() {
    // A system that refuses this still runs the command.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    // The hard limit stays, so that a program that this one starts can raise its own again.
    limit.current = Some(0);
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, limit);
}

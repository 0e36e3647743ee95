//! Which workloads may connect, and for whom they act.

use std::fmt;

use strongroom::access::{Access, SpiffePattern};
use strongroom_core::SpiffeId;

use crate::config::ServerConfig;

/// Which workloads may connect, and for whom they act.
pub(crate) struct Workloads {
    access: Access,
    /// If there are none, the templates of the access rules decide.
    allowed: Vec<SpiffePattern>,
    proxies: Vec<SpiffeId>,
}

impl Workloads {
    pub(crate) fn new(config: &ServerConfig, access: Access) -> Self {
        let (allowed, proxies) = (config.allowed_ids.clone(), config.xfcc_proxies.clone());
        Self { access, allowed, proxies }
    }

    /// Whether a workload with this id may connect.
    pub(crate) fn may_connect(&self, id: &SpiffeId) -> bool {
        self.is_proxy(id) || self.may_ask(id)
    }

    /// Whether requests may be those of a workload with this id.
    pub(crate) fn may_ask(&self, id: &SpiffeId) -> bool {
        if self.allowed.is_empty() {
            return self.access.recognizes(id);
        }
        self.allowed.iter().any(|pattern| pattern.matches(id))
    }

    /// Whether it only forwards the requests of others, and says whose they are.
    pub(crate) fn is_proxy(&self, id: &SpiffeId) -> bool {
        self.proxies.contains(id)
    }
}

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloads")
            .field("allowed", &self.allowed)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

//! Which records a query selects.

use super::Row;

/// Which records to read. The default matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordFilter {
    pub(crate) tenant: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) path: Option<PathFilter>,
    /// The names of events; empty matches all.
    pub(crate) events: Vec<String>,
    /// The earliest time, in milliseconds since 1970.
    pub(crate) from: Option<i64>,
    /// The time after the latest, in milliseconds since 1970.
    pub(crate) to: Option<i64>,
}

impl RecordFilter {
    /// Whether a row can have records that match: those of a block share all but the principal and the path.
    pub(super) fn matches_row(&self, row: &Row) -> bool {
        (self.tenant.is_none() || self.tenant == row.tenant)
            && (self.events.is_empty() || self.events.contains(&row.event))
            && self.from.is_none_or(|from| row.time >= from)
            && self.to.is_none_or(|to| row.time < to)
    }

    /// The conditions in SQL on what the records of a block have each for itself, for other rows; empty if there is none.
    /// `bind` takes a text, and returns what stands for it in the statement.
    pub(super) fn own_conditions(&self, mut bind: impl FnMut(&str) -> String) -> String {
        let principal = self.principal.as_ref();
        let principal = principal.map(|principal| format!("principal = {}", bind(principal)));
        let path = self.path.as_ref().map(|path| match path {
            PathFilter::Exact(path) => format!("path = {}", bind(path)),
            // `0` is the byte after `/`.
            PathFilter::Below(path) => format!(
                "path >= {} AND path < {}",
                bind(&format!("{path}/")),
                bind(&format!("{path}0"))
            ),
        });
        [principal, path].into_iter().flatten().collect::<Vec<_>>().join(" AND ")
    }

    pub(super) fn matches_principal(&self, principal: &str) -> bool {
        self.principal.as_ref().is_none_or(|wanted| wanted == principal)
    }

    pub(super) fn matches_path(&self, path: Option<&str>) -> bool {
        self.path.as_ref().is_none_or(|wanted| wanted.matches(path))
    }
}

/// Which paths to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathFilter {
    /// This path alone.
    Exact(String),
    /// The paths that begin with this one and a `/`.
    Below(String),
}

impl PathFilter {
    pub(crate) fn matches(&self, path: Option<&str>) -> bool {
        path.is_some_and(|path| match self {
            Self::Exact(exact) => path == exact,
            Self::Below(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
        })
    }
}

//! Which events a webhook sends.

use crate::event::EVENT_NAMES;

/// What is sent unless the events are set.
pub(super) const DEFAULT_EVENTS: [&str; 6] =
    ["approval.*", "grant.*", "token.*", "vault.denied", "secret.*", "rotation.*"];

/// The names of the events that these patterns select. A pattern that selects none is returned as the error: it is
/// misspelt.
pub(super) fn select(patterns: &[String]) -> Result<Vec<&'static str>, &str> {
    let mut selected = Vec::new();
    for pattern in patterns {
        let before = selected.len();
        let names = EVENT_NAMES.iter().filter(|name| may_be_sent(name) && matches(pattern, name));
        selected.extend(names);
        if selected.len() == before {
            return Err(pattern);
        }
    }
    selected.sort_unstable();
    selected.dedup();
    Ok(selected)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// The progress of webhooks would cause more of itself, and carried rules are all rules of all tenants.
fn may_be_sent(name: &str) -> bool {
    !name.starts_with("webhook.") && name != "rules.carried"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(patterns: &[&str]) -> Result<Vec<&'static str>, String> {
        let patterns: Vec<_> = patterns.iter().map(|&it| it.to_owned()).collect();
        select(&patterns).map_err(ToOwned::to_owned)
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        assert_eq!(selected(&["vault.denied"]).unwrap(), ["vault.denied"]);
        assert_eq!(
            selected(&["vault.*", "grant.deleted", "vault.denied"]).unwrap(),
            ["grant.deleted", "vault.accessed", "vault.denied"]
        );
        assert_eq!(selected(&["approval.*"]).unwrap().len(), 6);
    }

    #[test]
    fn the_default_has_no_reads() {
        let events = selected(&DEFAULT_EVENTS).unwrap();
        assert_eq!(events.len(), 25);
        assert!(!events.contains(&"vault.accessed"));
    }

    #[test]
    fn all_events_are_all_but_those_of_webhooks_and_carried_rules() {
        let events = selected(&["*"]).unwrap();
        assert_eq!(events.len(), EVENT_NAMES.len() - 3);
        assert!(events.contains(&"vault.accessed") && events.contains(&"policy.loaded"));
    }

    #[test]
    fn a_pattern_that_selects_nothing_is_a_mistake() {
        for pattern in
            ["", "aproval.*", "approval", "vault.*denied", "webhook.failed", "rules.carried"]
        {
            assert_eq!(selected(&["vault.denied", pattern]).unwrap_err(), pattern);
        }
    }
}

//! The rights of one principal on secrets, found by path.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::event::Rule;
use crate::{Action, Actions, PathPattern};

/// What a rule allows on the paths of one pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) actions: Actions,
    /// From this time on it does not apply; milliseconds since 1970.
    pub(crate) ends_at: i64,
    pub(crate) rule: Rule,
}

impl Right {
    fn allows(&self, action: Action, now: i64) -> bool {
        self.actions.contains(action) && now < self.ends_at
    }
}

/// A tree of patterns by segment. A lookup visits each node at most once and allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct RightIndex {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, Node, RandomState>,
    /// The patterns with `*` in this place.
    any: Option<Box<Node>>,
    /// The patterns that end here.
    here: Vec<Right>,
    /// The patterns that end with `**` in this place.
    below: Vec<Right>,
}

impl RightIndex {
    pub(crate) fn insert(&mut self, pattern: &PathPattern, right: Right) {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                "**" => return node.below.push(right),
                "*" => node.any.get_or_insert_default(),
                // Looked up first: most patterns share their first segments.
                segment if node.literal.contains_key(segment) => {
                    let Some(next) = node.literal.get_mut(segment) else { return };
                    next
                }
                segment => node.literal.entry(segment.into()).or_default(),
            };
        }
        node.here.push(right);
    }

    /// The first right that allows an action on a path at a time.
    pub(crate) fn find(&self, path: &str, action: Action, now: i64) -> Option<Rule> {
        self.root.find(path, action, now)
    }
}

impl Node {
    fn find(&self, rest: &str, action: Action, now: i64) -> Option<Rule> {
        let first_of = |rights: &[Right]| {
            rights.iter().find(|right| right.allows(action, now)).map(|right| right.rule)
        };
        if let Some(rule) = first_of(&self.below) {
            return Some(rule);
        }
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let children = [self.literal.get(segment), self.any.as_deref()];
        children.into_iter().flatten().find_map(|child| match rest {
            Some(rest) => child.find(rest, action, now),
            None => first_of(&child.here),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::GrantId;

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "prod", "production"]), 1..4)
            .prop_map(|segments| segments.join("/"))
    }

    fn pattern() -> impl Strategy<Value = PathPattern> {
        let segment = prop::sample::select(vec!["a", "b", "prod", "production", "*"]);
        (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(mut segments, deep)| {
            if deep || segments.is_empty() {
                segments.push("**");
            }
            PathPattern::parse(&segments.join("/")).unwrap()
        })
    }

    proptest! {
        #[test]
        fn finds_a_right_exactly_where_a_pattern_matches(
            rights in prop::collection::vec((pattern(), any::<bool>(), 0..4_i64), 0..12),
            path in text(),
            now in 0..4_i64,
        ) {
            let mut index = RightIndex::default();
            let rule = Rule::Grant(GrantId::random().unwrap());
            let mut allowed = false;
            for (pattern, reads, ends_at) in rights {
                let actions = Actions::none().with(if reads { Action::Read } else { Action::Write });
                index.insert(&pattern, Right { actions, ends_at, rule });
                allowed |= reads && now < ends_at && pattern.matches(&path);
            }
            prop_assert_eq!(index.find(&path, Action::Read, now).is_some(), allowed);
        }
    }
}

//! Generated policies and the accesses that they decide.

use serde_json::{Map, Value, json};
use strongroom_access::Action;
use strongroom_core::Tier;

/// One access.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) principal: String,
    pub(crate) action: Action,
    pub(crate) path: String,
    pub(crate) tier: Option<Tier>,
    pub(crate) reason: Option<String>,
}

impl Case {
    /// The documented input, without the time.
    pub(crate) fn to_input(&self) -> Value {
        let names: Vec<_> = self.principal.split('/').collect();
        let principal = match names.as_slice() {
            ["spiffe:", "", _, "agent", tenant, agent, role] => json!({
                "kind": "workload", "id": self.principal, "tenant": tenant, "agent": agent,
                "role": role,
            }),
            [_, name] => json!({
                "kind": "person", "id": self.principal, "tenant": "acme", "name": name,
            }),
            _ => Value::Null,
        };
        let mut input = Map::new();
        input.insert("principal".to_owned(), principal);
        input.insert("action".to_owned(), self.action.as_str().into());
        input.insert("path".to_owned(), self.path.clone().into());
        if let Some(tier) = self.tier {
            input.insert("tier".to_owned(), tier.as_str().into());
        }
        if let Some(reason) = &self.reason {
            input.insert("reason".to_owned(), reason.clone().into());
        }
        input.into()
    }
}

/// Numbers from a seed by the algorithm `SplitMix64`.
pub(crate) struct Generator {
    state: u64,
    names: u64,
}

const PATHS: &[&str] = &[
    "openai/api-key",
    "production/db/main",
    "production/openai/api-key",
    "staging/db/main",
    "wallet/key",
    "a",
    "db/7",
    "db/12",
];
const REASONS: &[&str] = &["ticket 7", "incident", "Ticket 12", "7", "näher"];
const FIELDS: &[&str] = &[
    "input.path",
    "input.action",
    "input.tier",
    "input.reason",
    "input.principal.role",
    "input.principal.agent",
    "input.principal.kind",
    "input.principal.name",
];
const TEXTS: &[&str] = &[
    "read",
    "write",
    "production/",
    "db",
    "critical",
    "standard",
    "reader",
    "bot",
    "person",
    "ticket",
    "7",
    "key",
    "a",
    "/",
];

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, names: 0 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }

    pub(crate) fn case(&mut self) -> Case {
        let agent = self.pick(&["bot", "trader", "builder"]);
        let role = self.pick(&["reader", "writer", "admin"]);
        let workload = format!("spiffe://example.org/agent/acme/{agent}/{role}");
        let tiers = [None, Some(Tier::Standard), Some(Tier::Sensitive)];
        Case {
            principal: if self.below(5) == 0 { "person:acme/ann".to_owned() } else { workload },
            action: Action::ALL.get(self.below(Action::ALL.len())).copied().unwrap(),
            path: self.pick(PATHS).to_owned(),
            tier: tiers.get(self.below(tiers.len())).copied().flatten(),
            reason: (self.below(2) == 0).then(|| self.pick(REASONS).to_owned()),
        }
    }

    /// A policy of some rules, with a function and helper rules that some of them use.
    pub(crate) fn policy(&mut self) -> String {
        let list = [self.pick(TEXTS), self.pick(TEXTS), self.pick(TEXTS)];
        let mut lines = vec![
            "package strongroom.access\n".to_owned(),
            format!("texts := {list:?}"),
            format!("names := {{{:?}, {:?}}}", self.pick(TEXTS), self.pick(TEXTS)),
            format!("limits := {{\"read\": {}, \"write\": {}}}", self.below(20), self.below(20)),
            format!("closed if {{ {} }}", self.conditions(2)),
            format!("closed if {{ {} }}", self.conditions(1)),
            format!("default level := {}", self.below(3)),
            format!("level := 3 if {{ {} }}", self.conditions(2)),
            format!("shown(text) := upper(text) if contains(text, {:?})\n", self.pick(TEXTS)),
        ];
        for number in 0..=self.below(4) {
            let reason = match self.below(4) {
                0 => format!("sprintf(\"{number}: %s at %v\", [input.action, level])"),
                1 => format!("concat(\" \", [\"{number}\", input.path, input.principal.kind])"),
                _ => format!("\"reason {number}\""),
            };
            let count = 1 + self.below(3);
            let closed = if self.below(4) == 0 { "closed; " } else { "" };
            let conditions = self.conditions(count);
            lines.push(format!("deny contains {reason} if {{ {closed}{conditions} }}"));
        }
        if self.below(3) == 0 {
            let condition = self.condition();
            lines.push(format!("deny contains text if {{ some text in names; {condition} }}"));
        }
        lines.join("\n") + "\n"
    }

    fn conditions(&mut self, count: usize) -> String {
        let conditions: Vec<_> = (0..count).map(|_| self.condition()).collect();
        conditions.join("; ")
    }

    /// One expression. Under `not`, the arguments of built-ins are defined. Those with helpers refer to rules without conditions, so that no rule refers to itself.
    fn condition(&mut self) -> String {
        let (field, text) = (self.pick(FIELDS), self.pick(TEXTS));
        let (other, number) = (self.pick(FIELDS), self.below(24));
        // `regorus` refuses one name for two variables of a body.
        self.names += 1;
        let n = self.names;
        match self.below(22) {
            0 => format!("{field} == {text:?}"),
            1 => format!("{field} != {text:?}"),
            2 => format!("startswith({field}, {text:?})"),
            3 => format!("not startswith(input.path, {text:?})"),
            4 => format!("contains({field}, {text:?})"),
            5 => format!("not {field}"),
            6 => format!("{field} in names"),
            7 => format!("some item{n} in texts; contains({field}, item{n})"),
            8 => format!("every item{n} in texts {{ {field} != item{n} }}"),
            9 => format!("count({field}) > {number}"),
            10 => format!("count(split({field}, \"/\")) < {}", 1 + number % 4),
            11 => format!("limits[input.action] > {number}"),
            12 => "not limits[input.action]".to_owned(),
            13 => format!("regex.match(\"^[a-z]+/.*{text}\", {field})"),
            14 => format!("endswith({field}, {text:?})"),
            15 => format!("{field} > {other}"),
            16 => format!("upper({field}) == upper({text:?})"),
            17 => format!("regex.match(\"^[0-9]+$\", {field}); to_number({field}) > {number}"),
            18 => format!("regex.match(\"^[0-9]+$\", {field}); not to_number({field}) > {number}"),
            19 => format!(
                "count([item{n} | some item{n} in texts; contains({field}, item{n})]) > {}",
                number % 3
            ),
            20 => format!("object.get(limits, {field}, {number}) >= {}", number / 2),
            _ => format!("shown({text:?}) == upper({text:?}); {field} != {other}"),
        }
    }
}

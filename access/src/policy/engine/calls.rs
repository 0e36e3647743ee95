//! The calls among the rules of a program.
//!
//! Each call takes stack of the thread, and a thread that runs out of it ends the process. The engine limits neither, so
//! a policy whose calls have no end, or form a chain that is too long, is refused before anything evaluates it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::rvm::Instruction;
use regorus::rvm::instructions::LiteralOrRegister;
use regorus::rvm::program::Program;

/// The most rules of which each calls the next.
pub(super) const MAX_CHAIN: usize = 32;

type Graph = BTreeMap<u16, BTreeSet<u16>>;

/// The rules that call themselves, also through others, or are at the top of a chain that is too long.
pub(super) fn problems(program: &Program) -> Vec<String> {
    let Some(mut calls) = graph(program) else {
        return vec!["the engine has a call that cannot be checked for recursion".to_owned()];
    };
    for _ in 0..MAX_CHAIN {
        remove_leaves(&mut calls);
    }
    let too_deep = remove_leaves(&mut calls);
    while !remove_leaves(&mut calls).is_empty() {}
    let recursive = calls.keys().filter(|rule| reaches_itself(&calls, **rule)).map(|rule| {
        let name = name(program, *rule);
        format!("the rule `{name}` calls itself, or a rule that calls it: recursion is refused")
    });
    let too_deep = too_deep.iter().map(|rule| {
        let name = name(program, *rule);
        format!("the rule `{name}` begins a chain of more than {MAX_CHAIN} rules that call each other: merge some")
    });
    recursive.chain(too_deep).collect()
}

fn name(program: &Program, rule: u16) -> &str {
    let name = program.rule_infos.get(usize::from(rule)).map_or("", |info| info.name.as_str());
    name.strip_prefix("data.").unwrap_or(name)
}

/// Removes the rules that call no other, and returns them.
fn remove_leaves(calls: &mut Graph) -> BTreeSet<u16> {
    let leaves = calls.iter().filter(|(_, called)| called.is_empty());
    let leaves: BTreeSet<u16> = leaves.map(|(rule, _)| *rule).collect();
    calls.retain(|rule, _| !leaves.contains(rule));
    for called in calls.values_mut() {
        called.retain(|rule| !leaves.contains(rule));
    }
    leaves
}

fn reaches_itself(calls: &Graph, start: u16) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![start];
    while let Some(called) = next.pop().and_then(|rule| calls.get(&rule)) {
        if called.contains(&start) {
            return true;
        }
        next.extend(called.iter().copied().filter(|rule| seen.insert(*rule)));
    }
    false
}

/// Which rules each rule calls; `None` if it is not known of a call.
fn graph(program: &Program) -> Option<Graph> {
    let entries = entries(program);
    let first = *entries.keys().next()?;
    let rules = 0..u16::try_from(program.rule_infos.len()).ok()?;
    let mut calls: Graph = rules.map(|rule| (rule, BTreeSet::new())).collect();
    let mut caller = None;
    // The instructions before the first rule call the entry point.
    for (position, instruction) in program.instructions.iter().enumerate().skip(first) {
        caller = entries.get(&position).copied().or(caller);
        match instruction {
            Instruction::RuleInit { rule_index, .. } if caller != Some(*rule_index) => return None,
            Instruction::RuleReturn {} => caller = None,
            instruction => {
                let called = called(program, *instruction)?;
                if !called.is_empty() {
                    calls.get_mut(&caller?)?.extend(called);
                }
            }
        }
    }
    calls.values().flatten().all(|called| calls.contains_key(called)).then_some(calls)
}

/// The positions at which the bodies of rules, and what takes apart the arguments of functions, begin.
fn entries(program: &Program) -> BTreeMap<usize, u16> {
    let mut entries = BTreeMap::new();
    for (rule, info) in (0..).zip(&program.rule_infos) {
        let bodies = info.definitions.iter().flatten();
        let positions = bodies.chain(info.destructuring_blocks.iter().flatten());
        let positions = positions.filter_map(|position| usize::try_from(*position).ok());
        entries.extend(positions.map(|position| (position, rule)));
    }
    entries
}

/// The rules that an instruction may call; `None` if they are not known.
fn called(program: &Program, instruction: Instruction) -> Option<BTreeSet<u16>> {
    let data = &program.instruction_data;
    match instruction {
        Instruction::CallRule { rule_index, .. } => Some(BTreeSet::from([rule_index])),
        Instruction::FunctionCall { params_index } => {
            let call = data.get_function_call_params(params_index)?;
            Some(BTreeSet::from([call.func_rule_index]))
        }
        Instruction::VirtualDataDocumentLookup { params_index } => {
            let lookup = data.get_virtual_data_document_lookup_params(params_index)?;
            rules_at(program, &lookup.path_components)
        }
        Instruction::HostAwait { .. } => None,
        _ => Some(BTreeSet::new()),
    }
}

/// The rules that a path below `data` may mean. A component that is computed may be any name.
fn rules_at(program: &Program, path: &[LiteralOrRegister]) -> Option<BTreeSet<u16>> {
    let data = Value::from("data");
    let root = program.rule_tree.as_object().ok()?.get(&data)?;
    let mut rules = BTreeSet::new();
    let mut next = vec![(root, path)];
    while let Some((node, path)) = next.pop() {
        match (node, path.split_first()) {
            (Value::Number(rule), _) => {
                rules.insert(u16::try_from(rule.as_u64()?).ok()?);
            }
            (Value::Object(names), Some((LiteralOrRegister::Literal(literal), rest))) => {
                let name = program.literals.get(usize::from(*literal))?;
                next.extend(names.get(name).map(|node| (node, rest)));
            }
            (Value::Object(names), rest) => {
                let rest = rest.map_or(path, |(_, rest)| rest);
                next.extend(names.iter().map(|(_, node)| (node, rest)));
            }
            _ => {}
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests;

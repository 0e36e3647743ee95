//! The tables of settings in the documentation come from those that the code reads.

use std::fs;
use std::path::Path;

use strongroom_core::Setting;

use crate::backends::{self, KINDS};
use crate::{policy, suggest};

const BEGIN: &str = "<!-- settings: begin; generated from the tables in the code -->\n";
const END: &str = "<!-- settings: end -->\n";

/// Set it to rewrite the tables.
const UPDATE: &str = "STRONGROOM_UPDATE_DOCS";

fn tables() -> String {
    let title = |name| match name {
        "env" => "Environment variables and `.env` files: `env`",
        "hashicorp" => "HashiCorp Vault and OpenBao: `hashicorp`",
        "aws" => "AWS Secrets Manager: `aws`",
        "native" => "The embedded store: `native`",
        "remote" => "A Strongroom server: `remote`",
        other => other,
    };
    let of_backends = KINDS.iter().filter_map(|kind| Some((title(kind.name), kind.settings?)));
    let general = [
        ("Which store", backends::SETTINGS),
        ("Reads and their cache", policy::SETTINGS),
        ("Access rules", suggest::ACCESS_SETTINGS),
    ];
    general.into_iter().chain(of_backends).map(|(title, table)| section(title, table)).collect()
}

fn section(title: &str, table: &[Setting]) -> String {
    let rows: Vec<_> = table.iter().map(Setting::to_markdown_row).collect();
    format!("## {title}\n\n{}\n{}\n\n", Setting::MARKDOWN_HEAD, rows.join("\n"))
}

#[test]
fn the_documentation_lists_every_setting() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/reference/settings.md");
    let page = fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page marks where the tables begin");
    let (_, after) = rest.split_once(END).expect("the page marks where the tables end");
    let expected = [before, BEGIN, "\n", &tables(), END, after].concat();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&file, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == expected,
        "the tables are out of date; run this test with `{UPDATE}=1` to rewrite them"
    );
}

#[test]
fn no_setting_stands_in_two_tables() {
    let mut variables: Vec<_> = suggest::settings().map(Setting::variable).collect();
    let count = variables.len();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!(variables.len(), count);
}

//! Answers are as the description of the API says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Answer;

const SCHEMAS: &str = "#/components/schemas/";

/// The committed description, which a unit test compares with the code. A member that it does not name is a mistake.
static API: LazyLock<Value> = LazyLock::new(|| {
    let mut api = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    close(&mut api, false);
    api
});

/// For each line with a schema and a document, writes a line with the mistakes of the document.
const VALIDATOR: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
for line in sys.stdin:
    schema, document = json.loads(line)
    mistakes = [error.json_path + ": " + error.message for error in Draft202012Validator(schema).iter_errors(document)]
    print(json.dumps(mistakes), flush=True)
"#;

/// A process that validates. It ends with the process of the tests, which closes its input.
struct Validator {
    _process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static PROCESS: LazyLock<Mutex<Validator>> = LazyLock::new(|| {
    let python = crate::support::python();
    let mut process = Command::new(python)
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    Mutex::new(Validator { _process: process, input, output: BufReader::new(output) })
});

fn mistakes(schema: &Value, document: &Value) -> Vec<String> {
    let mut process = PROCESS.lock().unwrap();
    writeln!(process.input, "{}", json!([schema, document])).unwrap();
    let mut line = String::new();
    process.output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Forbids members that a schema does not describe. One that is a part of another, in `allOf`, leaves it to the whole.
fn close(schema: &mut Value, is_part: bool) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, is_part)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if name == "schemas" {
                    // Each is closed where another one refers to it.
                    member.as_object_mut().unwrap().values_mut().for_each(|one| close(one, true));
                } else {
                    close(member, name == "allOf");
                }
            }
            let is_reference =
                members.get("$ref").is_some_and(|name| name.as_str().unwrap().starts_with(SCHEMAS));
            if !is_part && (is_reference || members.contains_key("allOf")) {
                members.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        _ => {}
    }
}

/// The template of the description that a path matches.
fn template_of(path: &str) -> Option<&'static str> {
    let matches = |template: &str| match template.split_once('{') {
        None => path == template,
        Some((prefix, "path}")) => path.len() > prefix.len() && path.starts_with(prefix),
        Some((prefix, rest)) => {
            let suffix = rest.split_once('}').unwrap().1;
            let id = path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
        }
    };
    API["paths"].as_object().unwrap().keys().map(String::as_str).find(|name| matches(name))
}

/// Fails if an answer is not one that the description has for its operation and status.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let method = method.as_str().to_lowercase();
    let operation = template_of(path).map(|template| &API["paths"][template][&method]);
    let Some(operation) = operation.filter(|operation| operation.is_object()) else {
        assert!(matches!(answer.status, 401 | 404 | 405), "{method} {path} is not described");
        return;
    };
    let mut response = &operation["responses"][answer.status.to_string()];
    if let Some(reference) = response["$ref"].as_str() {
        response = API.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let status = answer.status;
    assert!(response.is_object(), "{method} {path} does not describe {status}: {}", answer.body);
    let Some(kind) = answer.headers.get("content-type") else {
        assert!(response["content"].is_null() && answer.body.is_null(), "{method} {path}");
        return;
    };
    let mut schema = response["content"][kind.to_str().unwrap()]["schema"].clone();
    assert!(schema.is_object(), "{method} {path} does not describe {kind:?} for {status}");
    schema["components"] = API["components"].clone();
    let mistakes = mistakes(&schema, &answer.body);
    assert!(mistakes.is_empty(), "{method} {path} {status}: {mistakes:#?}");
}

#[test]
fn a_member_that_is_not_described_is_a_mistake() {
    let of = |status: &str| {
        let content = &API["paths"]["/v1/metadata/{path}"]["get"]["responses"][status]["content"];
        let mut schema = content["application/json"]["schema"].clone();
        schema["components"] = API["components"].clone();
        schema
    };
    let whole = json!({"path": "a", "version": "1", "metadata": {"kind": "custom"}});
    assert_eq!(mistakes(&of("200"), &whole), [""; 0]);
    for (member, value) in
        [("more", json!(1)), ("version", json!(1)), ("metadata", json!({"more": 1}))]
    {
        let mut other = whole.clone();
        other[member] = value;
        assert_ne!(mistakes(&of("200"), &other), [""; 0], "{member}");
    }
}

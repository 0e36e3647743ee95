//! A stub of the service that answers as AWS documents, unless a test replaces the answers; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/>.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{
    Backend as _, ListOptions, MetadataPatch, Operation, PutOptions, Result, Secret, SecretPath,
    Version, VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{config, open, path};

/// The active version in documented answers.
pub(crate) const FIRST: &str = "11111111-1111-7111-8111-111111111111";
pub(crate) const SECOND: &str = "22222222-2222-7222-8222-222222222222";
pub(crate) const THIRD: &str = "33333333-3333-7333-8333-333333333333";

type Answer = Box<dyn FnMut(&Value) -> Reply + Send>;

#[derive(Default)]
struct State {
    answers: HashMap<&'static str, Answer>,
    /// Actions and parameters.
    requests: Vec<(String, Value)>,
    /// The number of requests that a test has taken.
    taken: usize,
}

/// A stub in which every secret exists.
pub(crate) struct Fake {
    stub: Stub,
    state: Arc<Mutex<State>>,
    region: String,
}

impl Fake {
    pub(crate) fn new() -> Self {
        // The SDK has one retry budget for all clients in a region.
        static REGIONS: AtomicUsize = AtomicUsize::new(0);
        let region = format!("test-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let stub = Stub::new(move |request| {
            let (action, body) = (action(request), parse_body(request));
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.requests.push((action.clone(), body.clone()));
            match state.answers.get_mut(action.as_str()) {
                Some(answer) => answer(&body),
                None => documented_answer(&action, &body),
            }
        });
        Self { stub, state, region }
    }

    pub(crate) fn url(&self) -> String {
        self.stub.url()
    }

    pub(crate) fn config(&self) -> AwsConfig {
        config(&self.url(), &self.region)
    }

    pub(crate) async fn open(&self) -> AwsBackend {
        open(self.config()).await
    }

    /// Opens a backend whose reads fetch no metadata and send one request.
    pub(crate) async fn open_without_metadata(&self) -> AwsBackend {
        let mut config = self.config();
        config.read_metadata = false;
        open(config).await
    }

    /// Answers an action with a function of its parameters.
    pub(crate) fn on(
        &self,
        action: &'static str,
        answer: impl FnMut(&Value) -> Reply + Send + 'static,
    ) {
        self.state.lock().unwrap().answers.insert(action, Box::new(answer));
    }

    pub(crate) fn always(&self, action: &'static str, reply: Reply) {
        self.on(action, move |_| reply.clone());
    }

    /// Answers the first requests for an action with `replies`, and later ones as documented.
    pub(crate) fn first(&self, action: &'static str, replies: impl IntoIterator<Item = Reply>) {
        let mut replies = replies.into_iter().collect::<Vec<_>>().into_iter();
        self.on(action, move |body| {
            replies.next().unwrap_or_else(|| documented_answer(action, body))
        });
    }

    /// Answers every action as documented again.
    pub(crate) fn reset(&self) {
        self.state.lock().unwrap().answers.clear();
    }

    /// Takes the actions of requests since the last call, in alphabetical order.
    pub(crate) fn take_requests_sorted(&self) -> Vec<String> {
        let mut actions = self.take_requests();
        actions.sort_unstable();
        actions
    }

    /// Takes the actions of requests since the last call, in the order of arrival.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        let taken = state.taken;
        state.taken = state.requests.len();
        state.requests[taken..].iter().map(|(action, _)| action.clone()).collect()
    }

    /// The parameters of all requests for an action.
    pub(crate) fn bodies(&self, action: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let requests = state.requests.iter().filter(|(requested, _)| requested == action);
        requests.map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        self.bodies(action).len()
    }

    /// Waits until the stub has received `times` requests for an action.
    pub(crate) async fn wait_for(&self, action: &str, times: usize) {
        let begin = Instant::now();
        while self.count(action) < times {
            assert!(begin.elapsed() < Duration::from_secs(30), "no request for {action}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The action of a request: in a header, or in a form for AWS STS.
fn action(request: &Request) -> String {
    let Some(target) = request.header("x-amz-target") else {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let action = form.split('&').find_map(|field| field.strip_prefix("Action="));
        return action.unwrap_or_default().to_owned();
    };
    target.strip_prefix("secretsmanager.").unwrap_or(target).to_owned()
}

fn parse_body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// The answer that AWS documents for a successful request.
pub(crate) fn documented_answer(action: &str, body: &Value) -> Reply {
    let name = body["SecretId"].as_str().or(body["Name"].as_str()).unwrap_or_default();
    let token = &body["ClientRequestToken"];
    ok(&match action {
        "GetSecretValue" => read(name, FIRST),
        "BatchGetSecretValue" => {
            let names = body["SecretIdList"].as_array().unwrap();
            let values = names.iter().map(|name| read(name.as_str().unwrap(), FIRST));
            json!({ "SecretValues": values.collect::<Vec<_>>(), "Errors": [] })
        }
        "DescribeSecret" => described(name, FIRST),
        "CreateSecret" | "PutSecretValue" => {
            json!({ "ARN": arn(name), "Name": name, "VersionId": token })
        }
        "RotateSecret" => json!({ "ARN": arn(name), "Name": name, "VersionId": SECOND }),
        "DeleteSecret" => json!({ "ARN": arn(name), "Name": name, "DeletionDate": 1.7e9 }),
        "ListSecrets" => json!({ "SecretList": [listed("key")] }),
        "ListSecretVersionIds" => {
            let versions = [version(FIRST, &["AWSCURRENT"]), version(SECOND, &[])];
            json!({ "ARN": arn(name), "Name": name, "Versions": versions })
        }
        _ => json!({ "ARN": arn(name), "Name": name }),
    })
}

/// A success with a body.
pub(crate) fn ok(body: &Value) -> Reply {
    reply(200, body)
}

pub(crate) fn reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, body.to_string()).header("Content-Type", "application/x-amz-json-1.1")
}

/// An error with a code.
pub(crate) fn refusal(code: &str) -> Reply {
    refusal_with_message(code, "")
}

/// An error with a code and a message.
pub(crate) fn refusal_with_message(code: &str, message: &str) -> Reply {
    refusal_with_status(400, code, message)
}

pub(crate) fn refusal_with_status(status: u16, code: &str, message: &str) -> Reply {
    reply(status, &json!({ "__type": code, "message": format!("{message} {CANARY}") }))
}

/// A page of another server than AWS.
pub(crate) fn html(status: u16) -> Reply {
    let page = format!("<html><title>{status}</title>{CANARY}</html>");
    Reply::new(status, page).header("Content-Type", "text/html")
}

pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf")
}

/// An answer of `GetSecretValue`, whose value is the canary and the version id.
pub(crate) fn read(name: &str, id: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "VersionId": id, "VersionStages": ["AWSCURRENT"],
        "SecretString": format!("{CANARY}{id}"), "CreatedDate": 1.7e9,
    })
}

/// An answer of `DescribeSecret`.
pub(crate) fn described(name: &str, id: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "CreatedDate": 1.7e9, "LastChangedDate": 1.7e9,
        "VersionIdsToStages": { id: ["AWSCURRENT"] },
    })
}

/// An answer of `DescribeSecret` with more or other members.
pub(crate) fn described_with(name: &str, id: &str, members: &Value) -> Value {
    let mut described = described(name, id);
    for (member, value) in members.as_object().unwrap().clone() {
        described[member] = value;
    }
    described
}

/// A secret in a list.
pub(crate) fn listed(name: &str) -> Value {
    json!({ "ARN": arn(name), "Name": name, "SecretVersionsToStages": { FIRST: ["AWSCURRENT"] } })
}

pub(crate) fn version(id: &str, stages: &[&str]) -> Value {
    json!({ "VersionId": id, "VersionStages": stages, "CreatedDate": 1.7e9 })
}

pub(crate) fn key() -> SecretPath {
    path("key")
}

pub(crate) async fn secret(backend: &AwsBackend) -> Result<Secret> {
    backend.get(&key(), &VersionSelector::Active).await
}

/// Reads the secret; the version id in its value.
pub(crate) async fn value(backend: &AwsBackend) -> Result<String> {
    let secret = secret(backend).await?;
    Ok(secret.expose_text()?.strip_prefix(CANARY).unwrap().to_owned())
}

pub(crate) async fn put(backend: &AwsBackend, options: PutOptions) -> Result<Version> {
    backend.put(&key(), canary::text("put"), options).await
}

/// Runs an operation in a form that sends all of its actions.
pub(crate) async fn run_operation(backend: &AwsBackend, operation: Operation) -> Result<()> {
    run_operation_at(backend, &key(), operation).await
}

/// The same for a secret at `path`.
pub(crate) async fn run_operation_at(
    backend: &AwsBackend,
    path: &SecretPath,
    operation: Operation,
) -> Result<()> {
    match operation {
        Operation::Get => backend.get(path, &VersionSelector::Active).await.map(drop),
        Operation::Put => backend.put(path, canary::text("put"), PutOptions::new()).await.map(drop),
        Operation::Delete => backend.delete(path).await,
        Operation::Undelete => backend.undelete(path).await,
        Operation::Destroy => backend.destroy(path).await,
        Operation::List => backend.list(None, &ListOptions::new()).await.map(drop),
        Operation::Versions => backend.versions(path).await.map(drop),
        Operation::Rollback => backend.rollback(path, &Version::new(SECOND)).await.map(drop),
        Operation::Describe => backend.describe(path).await.map(drop),
        Operation::Annotate => {
            let patch = MetadataPatch::new().tag("team", "payments").description("changed");
            backend.annotate(path, &patch).await
        }
        Operation::Rotate => backend.rotate(path).await.map(drop),
        Operation::Health => backend.health().await.map(drop),
        other => panic!("no test runs {other}"),
    }
}

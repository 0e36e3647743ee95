//! A service whose answers are as AWS documents them, until a test replaces some; see
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

/// The version that is active until a test says otherwise.
pub(crate) const FIRST: &str = "11111111-1111-7111-8111-111111111111";
pub(crate) const SECOND: &str = "22222222-2222-7222-8222-222222222222";
pub(crate) const THIRD: &str = "33333333-3333-7333-8333-333333333333";

type Answer = Box<dyn FnMut(&Value) -> Reply + Send>;

#[derive(Default)]
struct State {
    answers: HashMap<&'static str, Answer>,
    asked: Vec<(String, Value)>,
    /// How many of them a test has looked at.
    seen: usize,
}

/// A service in which every secret exists.
pub(crate) struct Fake {
    stub: Stub,
    state: Arc<Mutex<State>>,
    region: String,
}

impl Fake {
    pub(crate) fn new() -> Self {
        // The SDK keeps one budget of retries for all clients in a region.
        static REGIONS: AtomicUsize = AtomicUsize::new(0);
        let region = format!("test-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
        let state = Arc::<Mutex<State>>::default();
        let now = Arc::clone(&state);
        let stub = Stub::new(move |request| {
            let (action, body) = (action(request), parsed(request));
            let mut state = now.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked.push((action.clone(), body.clone()));
            match state.answers.get_mut(action.as_str()) {
                Some(answer) => answer(&body),
                None => right(&action, &body),
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

    /// Without metadata, so that a read is one request.
    pub(crate) async fn open_bare(&self) -> AwsBackend {
        let mut config = self.config();
        config.read_metadata = false;
        open(config).await
    }

    /// Makes up the answers to an action from its parameters.
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

    /// Answers the first requests so, and the others correctly.
    pub(crate) fn first(&self, action: &'static str, replies: impl IntoIterator<Item = Reply>) {
        let mut replies = replies.into_iter().collect::<Vec<_>>().into_iter();
        self.on(action, move |body| replies.next().unwrap_or_else(|| right(action, body)));
    }

    /// Answers everything correctly again.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().answers.clear();
    }

    /// The actions that were asked for since the last call, in alphabetical order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked_in_turn();
        asked.sort_unstable();
        asked
    }

    /// The same in the order in which they came.
    pub(crate) fn asked_in_turn(&self) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        let asked = state.asked[state.seen..].iter().map(|(action, _)| action.clone()).collect();
        state.seen = state.asked.len();
        asked
    }

    /// The parameters of all requests for an action so far.
    pub(crate) fn given(&self, action: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let given = state.asked.iter().filter(|(asked, _)| asked == action);
        given.map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        self.given(action).len()
    }

    /// Waits until an action has been asked for so often.
    pub(crate) async fn comes(&self, action: &str, times: usize) {
        let begin = Instant::now();
        while self.count(action) < times {
            assert!(begin.elapsed() < Duration::from_secs(10), "nobody asks for {action}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The name of the action: in a header, or, for AWS STS, in a form.
fn action(request: &Request) -> String {
    let Some(target) = request.header("x-amz-target") else {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let action = form.split('&').find_map(|field| field.strip_prefix("Action="));
        return action.unwrap_or_default().to_owned();
    };
    target.strip_prefix("secretsmanager.").unwrap_or(target).to_owned()
}

fn parsed(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

pub(crate) fn right(action: &str, body: &Value) -> Reply {
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
            json!({ "ARN": arn(name), "Name": name, "Versions": [version(FIRST, &["AWSCURRENT"])] })
        }
        _ => json!({ "ARN": arn(name), "Name": name }),
    })
}

/// An answer that says yes.
pub(crate) fn ok(body: &Value) -> Reply {
    reply(200, body)
}

pub(crate) fn reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, body.to_string()).header("Content-Type", "application/x-amz-json-1.1")
}

/// An answer that says no.
pub(crate) fn refusal(code: &str) -> Reply {
    saying(code, "")
}

/// An answer that says no in certain words.
pub(crate) fn saying(code: &str, message: &str) -> Reply {
    with_status(400, code, message)
}

pub(crate) fn with_status(status: u16, code: &str, message: &str) -> Reply {
    reply(status, &json!({ "__type": code, "message": format!("{message} {CANARY}") }))
}

/// A page of something that is not AWS.
pub(crate) fn html(status: u16) -> Reply {
    let page = format!("<html><title>{status}</title>{CANARY}</html>");
    Reply::new(status, page).header("Content-Type", "text/html")
}

pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf")
}

/// A value as `GetSecretValue` gives it: the canary and the version's id.
pub(crate) fn read(name: &str, id: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "VersionId": id, "VersionStages": ["AWSCURRENT"],
        "SecretString": format!("{CANARY}{id}"), "CreatedDate": 1.7e9,
    })
}

pub(crate) fn described(name: &str, id: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "CreatedDate": 1.7e9, "LastChangedDate": 1.7e9,
        "VersionIdsToStages": { id: ["AWSCURRENT"] },
    })
}

/// The same with further members, or others.
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

/// Reads a secret and gives the version that was put into its value.
pub(crate) async fn value(backend: &AwsBackend) -> Result<String> {
    let secret = secret(backend).await?;
    Ok(secret.expose_text()?.strip_prefix(CANARY).unwrap().to_owned())
}

pub(crate) async fn put(backend: &AwsBackend, options: PutOptions) -> Result<Version> {
    backend.put(&key(), canary::text("put"), options).await
}

/// Asks for an operation, in a form that needs the actions it is named after.
pub(crate) async fn ask(backend: &AwsBackend, operation: Operation) -> Result<()> {
    match operation {
        Operation::Get => value(backend).await.map(drop),
        Operation::Put => put(backend, PutOptions::new()).await.map(drop),
        Operation::Delete => backend.delete(&key()).await,
        Operation::Undelete => backend.undelete(&key()).await,
        Operation::Destroy => backend.destroy(&key()).await,
        Operation::List => backend.list(None, &ListOptions::new()).await.map(drop),
        Operation::Versions => backend.versions(&key()).await.map(drop),
        Operation::Rollback => backend.rollback(&key(), &Version::new(SECOND)).await.map(drop),
        Operation::Describe => backend.describe(&key()).await.map(drop),
        Operation::Annotate => {
            let patch = MetadataPatch::new().tag("team", "payments").description("changed");
            backend.annotate(&key(), &patch).await
        }
        Operation::Rotate => backend.rotate(&key()).await.map(drop),
        Operation::Health => backend.health().await.map(drop),
        other => panic!("no test asks to {other}"),
    }
}

//! Secrets whose names are no paths, and those that a map names.

use serde_json::json;
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{Backend as _, ErrorKind, ListOptions, PutOptions, VersionSelector};
use strongroom_testkit::moto;

use super::{Store, config, path};

#[tokio::test]
async fn ignores_names_that_are_not_paths() {
    let store = Store::new().await;
    store.run(
        "for name in ['odd/a//b', 'odd/../c', 'odd/./d', 'odd/', '/odd/e', 'oddity/f', 'odd-g',\n\
         \x20            'odd/equal=sign/h', 'odd/i', 'odd/_+=.@-j']:\n\
         \x20   client.create_secret(Name=name, SecretString=name)",
    );
    let expected = ["odd/_+:.@-j", "odd/equal:sign/h", "odd/i"];
    let mut listed = store.list_names("odd", ListOptions::new()).await;
    listed.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(store.text("odd/equal:sign/h", VersionSelector::Active).await, "odd/equal=sign/h");
    store.put("odd/equal:sign/h", "ours").await;
    let read = "client.get_secret_value(SecretId='odd/equal=sign/h')['SecretString']";
    assert_eq!(store.eval(read), "ours");
    let arn = path("odd/arn:aws:secretsmanager:k");
    let written = store.backend.put(&arn, "ours".into(), PutOptions::new()).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidInput);
    let created =
        "client.list_secrets(Filters=[{'Key': 'name', 'Values': ['odd/arn']}])['SecretList']";
    assert_eq!(store.eval(created), json!([]));
}

#[tokio::test]
async fn reads_and_writes_secrets_whose_names_are_no_paths() {
    let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:names/by-arn";
    let names =
        [("names/rds", "rds/../cluster"), ("names/other", "other//tool"), ("names/arn", arn)];
    let store = Store::with_config(|config| {
        config.names = names.map(|(from, id)| (path(from), id.to_owned())).into();
    });
    let store = store.await;
    for name in ["rds/../cluster", "other//tool", "names/by-arn"] {
        store.run(&format!("client.create_secret(Name='{name}', SecretString='first')"));
    }
    for (at, id) in names {
        assert_eq!(store.text(at, VersionSelector::Active).await, "first");
        store.put(at, "second").await;
        let read = store.eval(&format!("client.get_secret_value(SecretId='{id}')['SecretString']"));
        assert_eq!(read, "second");
    }
    let batch = store.backend.get_many(&names.map(|(at, _)| path(at))).await;
    assert!(batch.iter().all(|secret| secret.as_ref().unwrap().expose_text().unwrap() == "second"));
    let listed = store.list_names("names", ListOptions::new()).await;
    assert_eq!(listed, ["names/arn", "names/other", "names/rds"]);
    store.backend.delete(&path("names/rds")).await.unwrap();
    assert_eq!(store.error("names/rds", VersionSelector::Active).await, ErrorKind::NotFound);
}

/// LocalStack rejects such names. AWS has them for secrets of other services.
#[tokio::test]
async fn reads_and_writes_names_with_blanks_and_marks_on_moto() {
    let server = moto::Server::start().await;
    let names = [("names/rds", "rds!cluster-1234"), ("names/tool", "names of/a tool")];
    let mut config = config(server.endpoint());
    config.names = names.map(|(from, id)| (path(from), id.to_owned())).into();
    let mapped = AwsBackend::open(config).await.unwrap();
    for (at, _) in names {
        let first = mapped.put(&path(at), "first".into(), PutOptions::new()).await.unwrap();
        let condition = PutOptions::new().must_be_version(first);
        mapped.put(&path(at), "second".into(), condition).await.unwrap();
        let secret = mapped.get(&path(at), &VersionSelector::Active).await.unwrap();
        assert_eq!(secret.expose_text().unwrap(), "second");
    }
    let page = mapped.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, names.map(|(at, _)| path(at)));
}

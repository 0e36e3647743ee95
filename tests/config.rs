//! Choosing and configuring a store: from a file, from code, from the environment of a process.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

use strongroom::{Config, Declared, ErrorKind, SecretsManager};

const CANARY: &str = "canary-8f3a1c";

async fn problems(config: Config) -> Vec<String> {
    let shown = format!("{config:?}");
    let error = SecretsManager::from_config(config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for text in [shown, error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("canary"), "{text}");
    }
    error.problems().to_vec()
}

#[tokio::test]
async fn all_problems_are_named_at_once() {
    let text = format!(
        r#"
        backend = "nativ"
        native_kye = "{CANARY}"
        native_path = ["{CANARY}"]
        native_key = ""
        env_prefix = "A"
        SECRETS_ENV_PREFIX = "B"
        colour = "{CANARY}"
        declare = [
            {{ path = "not a path {CANARY}" }},
            {{ path = "a/b", pattern = "(", requird = true }},
            "{CANARY}",
        ]
        "#
    );
    let problems = problems(toml::from_str(&text).unwrap()).await;
    for expected in [
        "`backend` is not the name of a backend: use `env`, `hashicorp`, `aws`, `native` or `remote`; did you mean `native`?",
        "`native_kye` is not a setting; did you mean `native_key`?",
        "`native_path` is neither text",
        "`native_key` is empty",
        "is given twice",
        "`colour` is not a setting",
        "`declare[0]` has no valid path",
        "the pattern declared for `a/b` is not a valid regular expression",
        "`requird` in `declare[1]` is not a key of it",
        "`declare[2]` is not a table",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[tokio::test]
async fn settings_of_reads_are_checked_like_others() {
    let config = Config::new()
        .set("cache_ttl", "soon")
        .set("SECRETS_CACHE_MAX_ENTRIES", "0")
        .set("cache_max_bytes", "much")
        .set("read_timeout", "0s")
        .set("read_retries", "-1")
        .set("watch_interval", "0")
        .set("cache_tll", "1m");
    let problems = problems(config).await;
    for expected in [
        "`cache_ttl` is not a duration such as",
        "`SECRETS_CACHE_MAX_ENTRIES` must be at least 1; set `cache_ttl` to zero",
        "`cache_max_bytes` is not a whole number of bytes",
        "`read_timeout` is zero",
        "`read_retries` is not a whole number of retries",
        "`watch_interval` is zero",
        "`cache_tll` is not a setting; did you mean `cache_ttl`?",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

#[tokio::test]
async fn an_error_about_a_file_names_its_keys() {
    for (text, expected) in [
        ("backend = 'native'", "set one of `native_key_file`, `native_key`, "),
        ("native_path = '/x'", "`native_path` is set, but `backend` is not: set it to `native`"),
        ("env_file = '/absent'", "the file `/absent` (`env_file`) does not exist"),
        ("SECRETS_ENV_FILE = '/absent'", "(`SECRETS_ENV_FILE`) does not exist"),
        (
            "backend = 'native'\nnative_key_file = '/absent/key'\nnative_path = '/absent/db'",
            "`native_path`: /absent: ",
        ),
        #[cfg(feature = "hashicorp")]
        ("backend = 'vault'", "`vault_addr` is not set"),
        #[cfg(feature = "aws")]
        ("backend = 'aws'\naws_timeout = 0", "`aws_timeout` must be more than zero"),
        #[cfg(feature = "remote")]
        (
            "backend = 'remote'\nstrongroom_addr = 'https://a/b'\nstrongroom_token = 't'",
            "`strongroom_addr` holds an address with a path",
        ),
    ] {
        let problems = problems(toml::from_str(text).unwrap()).await;
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
}

#[tokio::test]
async fn settings_of_reads_hold_for_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "A=1\n").unwrap();
    let text = format!("cache_ttl = '1m'\nread_timeout = 5\nenv_file = '{}'", file.display());
    let secrets = SecretsManager::from_config(toml::from_str(&text).unwrap()).await.unwrap();
    let read_at = |secret: strongroom::Secret| secret.read_at();
    let first = read_at(secrets.get("a").await.unwrap());
    assert_eq!(read_at(secrets.get("a").await.unwrap()), first, "it comes from the cache");
    assert!(read_at(secrets.refresh("a").await.unwrap()) > first);
    secrets.invalidate("a").unwrap();
    assert!(read_at(secrets.get("a").await.unwrap()) > first);
}

#[tokio::test]
async fn a_file_of_any_format_configures_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("secrets.db");
    let json = serde_json::json!({
        "backend": "native",
        "SECRETS_NATIVE_PATH": store,
        "native_passphrase": "correct horse battery staple",
        "native_keep_versions": 2,
    });
    let config: Config = serde_json::from_value(json).unwrap();
    assert!(!format!("{config:?}").contains("staple"));
    let secrets = SecretsManager::from_config(config).await.unwrap();
    for _ in 0..3 {
        secrets.put("a", "x").await.unwrap();
    }
    assert_eq!(secrets.versions("a").await.unwrap().len(), 2);
    assert!(store.exists());
}

#[tokio::test]
async fn declared_secrets_are_checked_when_the_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, format!("OPENAI_API_KEY={CANARY}\nDB_URL=postgres\n")).unwrap();
    let config = || Config::new().set("env_file", &file.to_string_lossy());
    let declared = problems(
        config()
            .declare(Declared::required("openai/api-key").pattern("^sk-"))
            .declare(Declared::required("stripe/key"))
            .declare(Declared::optional("optional/key"))
            .declare(Declared::required("db/url").pattern("^postgres$")),
    )
    .await;
    assert_eq!(declared.len(), 2, "{declared:?}");
    assert!(declared[0].contains("`openai/api-key` does not match"), "{declared:?}");
    assert!(declared[0].contains("`OPENAI_API_KEY`"), "{declared:?}");
    assert!(declared[1].contains("`STRIPE_KEY`"), "{declared:?}");

    let config = config().declare(Declared::optional("openai/model").default_value("gpt-5"));
    let secrets = SecretsManager::from_config(config).await.unwrap();
    let model = secrets.get("openai/model").await.unwrap();
    assert_eq!(model.expose_text().unwrap(), "gpt-5");
    assert_eq!(model.version().to_string(), "default");
    let many = secrets.get_many(["openai/model", "openai/other"]).await;
    assert_eq!(many[0].as_ref().unwrap().expose_text().unwrap(), "gpt-5");
    assert_eq!(many[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
}

/// The service of the tests below: this test again, in a process with another environment.
#[tokio::test]
async fn service() {
    if std::env::var_os("CONFIG_TEST_SERVICE").is_none() {
        return environments().await;
    }
    match SecretsManager::from_env().await {
        Err(error) => println!("answer: {error}"),
        Ok(secrets) => match secrets.get("openai/api-key").await {
            Ok(secret) => println!("answer: {} bytes from {}", secret.value().len(), secret.path()),
            Err(error) => println!("answer: {error}"),
        },
    }
}

async fn environments() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (store, key) = (path("secrets.db"), path("key"));

    let answer = run(&[("OPENAI_API_KEY", "12345")]);
    assert!(answer.contains("5 bytes from openai/api-key"), "{answer}");
    let answer = run(&[]);
    assert!(answer.contains("set the variable `OPENAI_API_KEY`"), "{answer}");
    assert!(answer.ends_with("`SECRETS_BACKEND` is not set, so the backend is `env`"), "{answer}");
    let answer = run(&[("SECRETS_BACKEND", "env")]);
    assert!(answer.ends_with("set the variable `OPENAI_API_KEY`"), "{answer}");

    let native = [
        ("SECRETS_BACKEND", "native"),
        ("SECRETS_NATIVE_PATH", store.as_str()),
        ("SECRETS_NATIVE_KEY_FILE", key.as_str()),
    ];
    let answer = run(&native);
    assert!(answer.contains("get `openai/api-key` from native: not found"), "{answer}");
    let settings =
        native.iter().fold(Config::new(), |config, (name, value)| config.set(name, value));
    let secrets = SecretsManager::from_config(settings).await.unwrap();
    secrets.put("openai/api-key", CANARY).await.unwrap();
    assert!(run(&native).contains("13 bytes from"));

    for (environment, expected) in [
        (vec![("SECRETS_NATIVE_KEY", ""), ("OPENAI_API_KEY", "12345")], "5 bytes from"),
        (
            vec![("SECRETS_BACKEND", "native"), ("SECRETS_NATIVE_KEY", "")],
            "`SECRETS_NATIVE_KEY` is set but empty",
        ),
        (
            vec![("SECRETS_ENV_PREFIX", ""), ("SECRETS_BACKEND", "env")],
            "`SECRETS_ENV_PREFIX` is set but empty",
        ),
        (
            vec![
                ("OPENAI_API_KEY", "12345"),
                ("SECRETS_ENV_SERVICE_HOST", "10.0.0.1"),
                ("SECRETS_ENV_SERVICE_PORT_HTTP", "80"),
                ("SECRETS_ENV_PORT", "tcp://10.0.0.1:80"),
                ("SECRETS_NATIVE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ],
            "5 bytes from",
        ),
        (
            vec![("SECRETS_BACKEND", "vualt")],
            "use `env`, `hashicorp`, `aws`, `native` or `remote`; did you mean `vault`?",
        ),
        #[cfg(feature = "hashicorp")]
        (
            vec![("SECRETS_VAULT_MOUNT", "kv")],
            "is set, but `SECRETS_BACKEND` is not: set it to `hashicorp`",
        ),
        #[cfg(feature = "remote")]
        (
            vec![("STRONGROOM_TOKEN", CANARY)],
            "is set, but `SECRETS_BACKEND` is not: set it to `remote`",
        ),
        // A variable of the server.
        (vec![("STRONGROOM_SERVER_LISTEN", CANARY), ("OPENAI_API_KEY", "12345")], "5 bytes from"),
        // The backend that reads it was not chosen.
        (vec![("VAULT_TOKNE", CANARY), ("OPENAI_API_KEY", "12345")], "5 bytes from"),
        (
            vec![("SECRETS_NATIVE_KEY", CANARY)],
            "is set, but `SECRETS_BACKEND` is not: set it to `native`",
        ),
        (vec![("SECRETS_BACKEND", "")], "`SECRETS_BACKEND` is set but empty"),
        (vec![("SECRETS_CACHE_TTL", "")], "`SECRETS_CACHE_TTL` is set but empty"),
        (vec![("SECRETS_CACHE_LIFE", "1m")], "`SECRETS_CACHE_LIFE` is not a setting"),
        (vec![("SECRETS_CACHE_TTL", "1m"), ("OPENAI_API_KEY", "12345")], "5 bytes from"),
        (vec![("SECRETS_BACKNED", "native")], "did you mean `SECRETS_BACKEND`?"),
        #[cfg(feature = "access")]
        (vec![("SECRETS_ACCESS_PATH", "/x"), ("OPENAI_API_KEY", "12345")], "5 bytes from"),
        #[cfg(feature = "access")]
        (vec![("SECRETS_ACCESS_KEY_FIEL", CANARY)], "did you mean `SECRETS_ACCESS_KEY_FILE`?"),
        #[cfg(feature = "access")]
        (vec![("SECRETS_ACCESS_FOLDER", CANARY)], "`SECRETS_ACCESS_FOLDER` is not a setting"),
        (vec![("SECRETS_BACKEND", "native")], "set one of `SECRETS_NATIVE_KEY_FILE`"),
        (
            vec![("SECRETS_BACKEND", "native"), ("SECRETS_NATIVE_PAHT", CANARY)],
            "2 problems: (1) `SECRETS_NATIVE_PAHT` is not a setting",
        ),
    ] {
        let answer = run(&environment);
        assert!(answer.contains(expected), "{environment:?}: {answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
}

#[cfg(feature = "hashicorp")]
#[tokio::test]
async fn a_file_with_settings_of_a_backend_names_the_backend() {
    let config = toml::from_str(&format!("vault_addr = 'https://vault'\nvault_token = '{CANARY}'"));
    let problems = problems(config.unwrap()).await;
    assert!(problems[0].contains("set it to `hashicorp`"), "{problems:?}");
    // In the environment they may be meant for other tools.
    let shared = [("VAULT_ADDR", "https://vault"), ("VAULT_TOKEN", CANARY)];
    assert!(run(&[&shared[..], &[("OPENAI_API_KEY", "12345")]].concat()).contains("5 bytes from"));
}

#[cfg(feature = "remote")]
#[test]
fn a_service_finds_its_server_in_the_environment() {
    let backend = ("SECRETS_BACKEND", "remote");
    let address = ("STRONGROOM_ADDR", "http://127.0.0.1:1");
    let token = ("STRONGROOM_TOKEN", CANARY);
    for (environment, expected) in [
        (vec![address, token], "from remote: store unavailable"),
        (vec![address, token, ("STRONGROOM_SERVER_LISTEN", CANARY)], "from remote"),
        (vec![address], "nothing says who asks"),
        (vec![address, ("STRONGROOM_TOKEN", "")], "nothing says who asks"),
        (vec![address, ("STRONGROOM_TOKNE", CANARY)], "did you mean `STRONGROOM_TOKEN`?"),
        (vec![token], "`STRONGROOM_ADDR` is not set"),
        (vec![("STRONGROOM_ADDR", "vault"), ("STRONGROOM_TOKEN", "a b")], "2 problems"),
        (vec![address, token, ("STRONGROOM_TIMEOUT", "1h")], "`STRONGROOM_TIMEOUT`"),
    ] {
        let answer = run(&[environment.as_slice(), &[backend]].concat());
        assert!(answer.contains(expected), "{environment:?}: {answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
}

#[cfg(feature = "hashicorp")]
#[test]
fn a_service_finds_its_vault_in_the_environment() {
    let address = ("VAULT_ADDR", "http://127.0.0.1:1");
    for (environment, expected) in [
        (vec![address, ("VAULT_TOKEN", CANARY)], "from hashicorp: store unavailable"),
        (vec![address, ("VAULT_TOKEN", "")], "nothing to log in with"),
        (vec![address, ("VAULT_TOKNE", CANARY)], "did you mean `VAULT_TOKEN`?"),
        (vec![("VAULT_TOKEN", CANARY)], "`VAULT_ADDR` is not set"),
        (vec![("VAULT_ADDR", "vault"), ("VAULT_TOKEN", "a b")], "2 problems"),
        (vec![address, ("VAULT_TOKEN", CANARY), ("VAULT_CACERT", "/nowhere")], "`VAULT_CACERT`"),
        (vec![address, ("VAULT_TOKEN", CANARY), ("SECRETS_VAULT_MONT", "kv")], "_MOUNT`?"),
        (vec![address, ("VAULT_TOKEN", CANARY), ("SECRETS_VAULT_MOUNT", "")], "set but empty"),
    ] {
        for name in ["hashicorp", "vault", "openbao", "bao"] {
            let answer = run(&[environment.as_slice(), &[("SECRETS_BACKEND", name)]].concat());
            assert!(answer.contains(expected), "{environment:?}: {answer}");
            assert!(!answer.contains("canary"), "{answer}");
        }
    }
    let answer = run(&[address, ("VAULT_ROLE_ID", CANARY)]);
    assert!(
        answer.contains("set the variable `OPENAI_API_KEY`; `SECRETS_BACKEND` is not set"),
        "{answer}"
    );
    assert!(answer.contains("`VAULT_ADDR` is set: if"), "{answer}");
    assert!(answer.ends_with("set `SECRETS_BACKEND` to `hashicorp`"), "{answer}");
    assert!(!answer.contains("canary"), "{answer}");
}

#[cfg(feature = "aws")]
#[test]
fn a_service_finds_its_aws_in_the_environment() {
    let location = [("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
    let keys = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", CANARY)];
    let with = |more: &[(&'static str, &'static str)]| [&location[..], &keys[..], more].concat();
    for (environment, expected) in [
        (with(&[]), "from aws: store unavailable"),
        (with(&[("AWS_REGOIN", "x")]), "did you mean `AWS_REGION`?"),
        (with(&[("SECRETS_AWS_PERFIX", "x")]), "did you mean `SECRETS_AWS_PREFIX`?"),
        (with(&[("SECRETS_AWS_PREFIX", "")]), "set but empty"),
        (with(&[("AWS_ENDPOINT_URL", "http://localstack:4566")]), "SECRETS_AWS_ALLOW_HTTP"),
        (with(&[("AWS_REGION", "a.b"), ("SECRETS_AWS_TIMEOUT", "soon")]), "2 problems"),
        (location.to_vec(), "not authenticated: no credentials were found"),
        (keys.to_vec(), "no region was found"),
        (with(&[("AWS_REGION", "")]), "no region was found"),
    ] {
        let always = [("SECRETS_BACKEND", "aws"), ("AWS_EC2_METADATA_DISABLED", "true")];
        let answer = run(&[environment.as_slice(), &always].concat());
        assert!(answer.contains(expected), "{environment:?}: {answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
    let answer = run(&with(&[]));
    assert!(answer.ends_with("if the secret is there, set `SECRETS_BACKEND` to `aws`"), "{answer}");
    // Other tools read them as well.
    assert!(
        run(&[&with(&[])[..], &[("OPENAI_API_KEY", "12345")]].concat()).contains("5 bytes from")
    );
}

fn run(environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "service", "--nocapture"]).env("CONFIG_TEST_SERVICE", "1");
    // The environment of the test itself may configure a store.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours = ["SECRET", "VAULT_", "AWS_"].iter().any(|prefix| text.starts_with(prefix));
        if is_ours || text == "OPENAI_API_KEY" {
            command.env_remove(&name);
        }
    }
    // So may files.
    command.env("AWS_CONFIG_FILE", "/nowhere").env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    let Output { status, stdout, .. } = command.envs(environment.iter().copied()).output().unwrap();
    assert!(status.success());
    let stdout = String::from_utf8(stdout).unwrap();
    let answer = stdout.lines().find_map(|line| line.split_once("answer: ")).map(|(_, text)| text);
    answer.expect("the service answers").to_owned()
}

#[tokio::test]
async fn an_option_of_a_command_line_is_named_as_such() {
    for (value, problem) in
        [("nope", "`--backend` is not the name of a backend"), ("", "`--backend` is empty")]
    {
        let config = Config::new().set_as("backend", "--backend", value);
        let error = SecretsManager::from_config(config).await.unwrap_err();
        assert!(error.problems().iter().any(|found| found.starts_with(problem)), "{error}");
    }
}

#[test]
fn a_configuration_tells_the_names_of_its_settings_and_their_files() {
    let config = Config::new()
        .set_as("backend", "--backend", "native")
        .set("native_key_file", "/etc/app/strongroom.key")
        .set("native_passphrase", "hunter2 hunter2");
    let names: Vec<_> = config.names().collect();
    assert_eq!(names, ["--backend", "native_key_file", "native_passphrase"]);
    let files: Vec<_> = config.files().collect();
    let file = std::path::Path::new("/etc/app/strongroom.key");
    assert_eq!(files, [("native_key_file".to_owned(), file)]);
}

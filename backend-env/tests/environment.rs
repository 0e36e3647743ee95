//! Reads from the environment of a process and from a `.env` file.
//!
//! A process cannot safely change its own environment, so each test runs itself again as a child
//! process with the variables that it needs.

#![expect(
    clippy::unwrap_used,
    reason = "outside of `#[test]` functions, too, a failure ends the test"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use strongroom_backend_env::{EnvBackend, EnvConfig, SETTINGS};
use strongroom_core::{
    Backend, Capabilities, Error, ErrorKind, HealthStatus, ListOptions, MetadataPatch, Operation,
    PutOptions, Result, Secret, SecretPath, ValueFormat, Version, VersionSelector,
};
use strongroom_testkit::log::Log;

const IN_CHILD: &str = "STRONGROOM_TEST_IN_CHILD";
/// Where the child finds its `.env` file.
const FILE: &str = "STRONGROOM_TEST_FILE";
const CANARY: &str = "canary-f00d";

/// Runs `body` in a child process whose environment has `variables` and no setting of the backend.
fn with_environment(test: &str, variables: &[(&str, OsString)], body: impl AsyncFnOnce()) {
    if env::var_os(IN_CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body());
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    for setting in SETTINGS {
        command.env_remove(setting.variable());
    }
    let output = command
        .args([test, "--exact", "--nocapture"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && shown.contains("1 passed"), "in the child:\n{shown}");
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

async fn get(backend: &EnvBackend, text: &str) -> Result<Secret> {
    backend.get(&path(text), &VersionSelector::Active).await
}

async fn read(config: EnvConfig, text: &str) -> String {
    let backend = EnvBackend::open(config).await.unwrap();
    get(&backend, text).await.unwrap().expose_text().unwrap().to_owned()
}

async fn failure(config: EnvConfig, text: &str) -> Error {
    get(&EnvBackend::open(config).await.unwrap(), text).await.unwrap_err()
}

/// A `.env` file that lives until the test's end, and the variable that names it.
fn env_file(content: &str) -> (tempfile::TempDir, (&'static str, OsString)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dev.env");
    fs::write(&file, content).unwrap();
    (directory, (FILE, file.into()))
}

fn with(change: impl FnOnce(&mut EnvConfig)) -> EnvConfig {
    let mut config = EnvConfig::default();
    change(&mut config);
    config
}

fn with_file() -> EnvConfig {
    let mut config = EnvConfig::default();
    config.file = Some(env::var_os(FILE).unwrap().into());
    config
}

#[test]
fn a_path_reads_its_variable() {
    let variables = [("PRODUCTION_OPENAI_API_KEY", "sk-1".into())];
    with_environment("a_path_reads_its_variable", &variables, async || {
        let backend = EnvBackend::open(EnvConfig::default()).await.unwrap();
        let secret = get(&backend, "production/openai/api-key").await.unwrap();
        assert_eq!(secret.expose_text().unwrap(), "sk-1");
        assert_eq!(secret.value().format(), ValueFormat::Text);
        assert_eq!(secret.version(), &Version::from(1));
        assert_eq!(secret.path(), &path("production/openai/api-key"));
    });
}

#[cfg(unix)]
#[test]
fn values_that_are_not_utf8_are_binary_and_exact() {
    use std::os::unix::ffi::OsStringExt;

    let bytes: Vec<u8> = (1..=255).collect();
    let variables = [("ZZ_RAW", OsString::from_vec(bytes.clone()))];
    with_environment("values_that_are_not_utf8_are_binary_and_exact", &variables, async || {
        let backend = EnvBackend::open(EnvConfig::default()).await.unwrap();
        let secret = get(&backend, "zz/raw").await.unwrap();
        assert_eq!(secret.value().format(), ValueFormat::Binary);
        assert_eq!(secret.expose_bytes(), bytes);
        assert_eq!(secret.expose_text().unwrap_err().kind(), ErrorKind::WrongType);
    });
}

#[test]
fn an_empty_variable_is_an_empty_value() {
    let (_directory, file) = env_file("ZZ_EMPTY=from-file\nZZ_BLANK=\n");
    let variables = [("ZZ_EMPTY", "".into()), file];
    with_environment("an_empty_variable_is_an_empty_value", &variables, async || {
        assert_eq!(read(with_file(), "zz/empty").await, "");
        assert_eq!(read(with_file(), "zz/blank").await, "");
    });
}

#[test]
fn an_empty_variable_is_reported_once() {
    let (_directory, file) = env_file(&format!("ZZ_HIDDEN={CANARY}\nZZ_BLANK=\nZZ_SET=1\n"));
    let variables = [("ZZ_HIDDEN", "".into()), ("ZZ_EMPTY", "".into()), file];
    with_environment("an_empty_variable_is_reported_once", &variables, async || {
        let log = Log::default();
        let guard = log.capture();
        let backend = EnvBackend::open(with_file()).await.unwrap();
        for _ in 0..3 {
            for name in ["zz/hidden", "zz/empty", "zz/blank", "zz/set"] {
                get(&backend, name).await.unwrap();
            }
        }
        drop(guard);
        let log = log.text();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        let [hidden, empty, blank] = warnings.as_slice() else { panic!("{log}") };
        assert!(hidden.contains("ZZ_HIDDEN") && hidden.contains("hides its value"), "{hidden}");
        assert!(hidden.contains(&env::var(FILE).unwrap()) && hidden.contains("unset"), "{hidden}");
        assert!(empty.contains("ZZ_EMPTY") && empty.contains("set but empty"), "{empty}");
        assert!(blank.contains("ZZ_BLANK") && blank.contains("set but empty"), "{blank}");
        assert!(!log.contains(CANARY), "{log}");
    });
}

#[test]
fn large_values_are_whole() {
    let large = "x".repeat(100 * 1024);
    let variables = [("ZZ_LARGE", large.clone().into())];
    with_environment("large_values_are_whole", &variables, async || {
        assert_eq!(read(EnvConfig::default(), "zz/large").await, large);
    });
}

#[test]
fn the_environment_wins_over_the_file() {
    let (_directory, file) = env_file("ZZ_BOTH=from-file\nZZ_FILE='from-file'\n");
    let variables = [("ZZ_BOTH", "from-environment".into()), file];
    with_environment("the_environment_wins_over_the_file", &variables, async || {
        assert_eq!(read(with_file(), "zz/both").await, "from-environment");
        assert_eq!(read(with_file(), "zz/file").await, "from-file");
        assert!(env::var_os("ZZ_FILE").is_none(), "the file was exported");
    });
}

/// The shell's `<(…)` is a pipe under `/dev/fd`.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_a_shell_serves_through_a_pipe_is_read() {
    let test = "a_file_that_a_shell_serves_through_a_pipe_is_read";
    if env::var_os(IN_CHILD).is_some() {
        return with_environment(test, &[], async || {
            assert_eq!(read(EnvConfig::from_env().unwrap(), "zz/piped").await, "p@$$w0rd");
        });
    }
    let run = "SECRETS_ENV_FILE=<(sleep 0.1; echo 'ZZ_PIPED=p@$$w0rd') \"$0\" \"$@\"";
    let output = Command::new("bash")
        .args(["-c", run])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[test]
fn the_fallback_is_off_by_default() {
    let variables = [("USER", CANARY.into())];
    with_environment("the_fallback_is_off_by_default", &variables, async || {
        let error = failure(EnvConfig::default(), "zz/user").await;
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.advice(), "set the variable `ZZ_USER`");
        assert_eq!(read(with(|config| config.fallback = true), "zz/user").await, CANARY);
    });
}

#[test]
fn the_fallback_comes_after_everything_that_names_the_path() {
    let (_directory, file) = env_file("ZZ_KEY=full-from-file\nZZKEY2=short-from-file\n");
    let variables = [("KEY", "short-from-environment".into()), file];
    let test = "the_fallback_comes_after_everything_that_names_the_path";
    with_environment(test, &variables, async || {
        let mut config = with_file();
        config.fallback = true;
        assert_eq!(read(config.clone(), "zz/key").await, "full-from-file");
        assert_eq!(read(config.clone(), "other/key").await, "short-from-environment");
        assert_eq!(read(config, "other/zzkey2").await, "short-from-file");
    });
}

#[test]
fn a_prefix_hides_variables_without_it() {
    let variables = [
        ("ZZ_KEY", "bare".into()),
        ("KEY", "bare".into()),
        ("App_ZZ_KEY", "full".into()),
        ("App_KEY", "short".into()),
    ];
    with_environment("a_prefix_hides_variables_without_it", &variables, async || {
        let config = with(|config| {
            config.prefix = Some("App".into());
            config.fallback = true;
        });
        assert_eq!(read(config.clone(), "zz/key").await, "full");
        assert_eq!(read(config, "other/key").await, "short");
        let error = failure(with(|config| config.prefix = Some("APP".into())), "zz/key").await;
        assert_eq!(error.advice(), "set the variable `APP_ZZ_KEY`");
    });
}

#[test]
fn settings_of_the_environment_become_the_configuration() {
    let (_directory, (_, file)) = env_file("APP_KEY=from-file\n");
    let variables = [
        ("SECRETS_ENV_PREFIX", "APP".into()),
        ("SECRETS_ENV_FALLBACK", "yes".into()),
        ("SECRETS_ENV_FILE", file),
    ];
    let test = "settings_of_the_environment_become_the_configuration";
    with_environment(test, &variables, async || {
        assert_eq!(read(EnvConfig::from_env().unwrap(), "zz/key").await, "from-file");
    });
}

#[test]
fn a_missing_variable_is_named_with_where_to_set_it() {
    let (_directory, file) = env_file("ZZ_OTHER=1\n");
    with_environment("a_missing_variable_is_named_with_where_to_set_it", &[file], async || {
        let error = failure(EnvConfig::default(), "zz/api-key").await;
        assert_eq!(
            error.to_string(),
            "get `zz/api-key` from env: not found; set the variable `ZZ_API_KEY`"
        );
        let mut config = with_file();
        config.fallback = true;
        let file = config.file.clone().unwrap();
        assert_eq!(
            failure(config, "zz/api-key").await.advice(),
            format!(
                "set the variable `ZZ_API_KEY` or `API_KEY` in the environment or in `{}`",
                file.display()
            )
        );
    });
}

#[test]
fn health_reports_the_file_and_close_ends_reads() {
    let (_directory, file) = env_file(&format!("ZZ_A={CANARY}\nZZ_B=2\n"));
    with_environment("health_reports_the_file_and_close_ends_reads", &[file], async || {
        let bare = EnvBackend::open(EnvConfig::default()).await.unwrap().health().await.unwrap();
        assert_eq!(bare.status, HealthStatus::Ready);
        assert_eq!(bare.details["file"], "none");

        let backend = EnvBackend::open(with_file()).await.unwrap();
        let health = backend.health().await.unwrap();
        assert_eq!(health.status, HealthStatus::Ready);
        assert_eq!(health.details["file"], env::var(FILE).unwrap());
        assert_eq!(health.details["file_variables"], "2");

        backend.close().await.unwrap();
        backend.close().await.unwrap();
        assert_eq!(get(&backend, "zz/a").await.unwrap_err().kind(), ErrorKind::Closed);
        let error = backend.health().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(error.operation(), Some(Operation::Health));
    });
}

#[test]
fn an_unsupported_operation_names_backends_that_have_it() {
    let variables = [("ZZ_KEY", CANARY.into())];
    with_environment(
        "an_unsupported_operation_names_backends_that_have_it",
        &variables,
        async || {
            let backend = EnvBackend::open(EnvConfig::default()).await.unwrap();
            assert_eq!(backend.info().kind, "env");
            assert_eq!(backend.info().capabilities, Capabilities::none());
            let (key, one) = (path("zz/key"), Version::from(1));
            let options = ListOptions::default();
            let exact = VersionSelector::Exact(one.clone());
            let errors = [
                backend.get(&key, &exact).await.unwrap_err(),
                backend.put(&key, CANARY.into(), PutOptions::new()).await.unwrap_err(),
                backend.delete(&key).await.unwrap_err(),
                backend.undelete(&key).await.unwrap_err(),
                backend.destroy(&key).await.unwrap_err(),
                backend.list(None, &options).await.unwrap_err(),
                backend.versions(&key).await.unwrap_err(),
                backend.rollback(&key, &one).await.unwrap_err(),
                backend.describe(&key).await.unwrap_err(),
                backend.annotate(&key, &MetadataPatch::default()).await.unwrap_err(),
                backend.rotate(&key).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                let advice = match error.operation() {
                    Some(Operation::Rotate) => {
                        "use the backend `aws`, or `hashicorp` for passwords of database roles"
                    }
                    _ => "use the backend `hashicorp`, `aws` or `native`",
                };
                assert_eq!(error.advice(), advice, "{error}");
                assert_eq!(error.backend(), Some("env"), "{error}");
                let listing = error.operation() == Some(Operation::List);
                assert!(listing || error.path() == Some(&key), "{error}");
                assert!(!format!("{error} {error:?}").contains(CANARY));
            }
            assert_eq!(read(EnvConfig::default(), "zz/key").await, CANARY);
        },
    );
}

#[test]
fn all_problems_of_opening_are_one_error_without_content() {
    let (_directory, file) = env_file(&format!("A={CANARY}\n{CANARY}\nA='{CANARY}'\nB=\"{CANARY}"));
    let test = "all_problems_of_opening_are_one_error_without_content";
    with_environment(test, &[file], async || {
        let mut config = with_file();
        config.prefix = Some("2-bad".into());
        let error = EnvBackend::open(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.operation(), Some(Operation::Open));
        assert_eq!(error.backend(), Some("env"));
        let problems = error.problems();
        assert_eq!(problems.len(), 2, "{error}");
        assert!(problems[0].contains("`EnvConfig::prefix`"), "{error}");
        assert!(problems[1].contains("line 2: ") && problems[1].contains("line 4: "), "{error}");
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains(CANARY) && !shown.contains("2-bad"), "{shown}");
    });
}

#[test]
fn debug_shows_no_values() {
    let (_directory, file) = env_file(&format!("ZZ_A={CANARY}\n"));
    let variables = [("ZZ_B", CANARY.into()), file];
    with_environment("debug_shows_no_values", &variables, async || {
        let mut config = with_file();
        config.prefix = Some("ZZ".into());
        let backend = EnvBackend::open(config).await.unwrap();
        let (a, b) = (get(&backend, "a").await.unwrap(), get(&backend, "b").await.unwrap());
        assert_eq!((a.expose_text().unwrap(), b.expose_text().unwrap()), (CANARY, CANARY));
        let shown = format!("{backend:?} {backend:#?} {a:?} {b:?} {:?}", backend.health().await);
        assert!(!shown.contains(CANARY), "{shown}");
        assert!(shown.contains("that begin with `ZZ_`"), "{shown}");
    });
}

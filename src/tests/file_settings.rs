//! Settings that name files, of every backend: a secret in place of the path is refused and not shown.

use strongroom_core::SettingKind;

use crate::{Config, SecretsManager, suggest};

const SECRETS: &[&str] = &[
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHunter2\n-----END PRIVATE KEY-----\n",
    "{\"token\": \"hunter2\"}",
    "hvs.CAESIHunter2",
    "k7xP2m9QvR4tY8wZ1aB3cD5eF6gH7iJ8Hunter2mN0=",
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
];

/// What a backend needs besides the setting in question.
fn config(variable: &str) -> Config {
    let settings: &[(&str, &str)] = match variable {
        "VAULT_CLIENT_CERT" => {
            &[("vault_addr", "https://vault"), ("vault_token", "t"), ("vault_client_key", "/none")]
        }
        "VAULT_CLIENT_KEY" => {
            &[("vault_addr", "https://vault"), ("vault_token", "t"), ("vault_client_cert", "/none")]
        }
        "VAULT_SECRET_ID_FILE" => &[("vault_addr", "https://vault"), ("vault_role_id", "r")],
        "SECRETS_VAULT_JWT_FILE" => {
            &[("vault_addr", "https://vault"), ("vault_auth", "jwt"), ("vault_auth_role", "r")]
        }
        "SECRETS_VAULT_PASSWORD_FILE" => {
            &[("vault_addr", "https://vault"), ("vault_auth", "userpass"), ("vault_username", "u")]
        }
        "SECRETS_NATIVE_PATH" | "SECRETS_NATIVE_ANCHOR_FILE" => {
            &[("native_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]
        }
        "SECRETS_ACCESS_PATH" => &[("access_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
        "SECRETS_ACCESS_KEY_FILE" => &[("access_path", "/none")],
        "SECRETS_ACCESS_CA_CERT" => &[
            ("access_url", "postgresql://a:b@db/access"),
            ("access_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ],
        "SECRETS_ACCESS_WEBHOOK_SECRET_FILE" => &[
            ("access_path", "/none"),
            ("access_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("access_webhook_url", "https://hooks.example.com"),
        ],
        _ if variable.starts_with("SECRETS_ACCESS_") => &[
            ("access_path", "/none"),
            ("access_key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ],
        _ if variable.starts_with("VAULT") => {
            &[("vault_addr", "https://vault"), ("vault_token", "t")]
        }
        "STRONGROOM_TOKEN_FILE" => &[("strongroom_addr", "https://server")],
        "STRONGROOM_CLIENT_CERT" => {
            &[("strongroom_addr", "https://server"), ("strongroom_client_key", "/none")]
        }
        "STRONGROOM_CLIENT_KEY" => {
            &[("strongroom_addr", "https://server"), ("strongroom_client_cert", "/none")]
        }
        _ if variable.starts_with("STRONGROOM_") => {
            &[("strongroom_addr", "https://server"), ("strongroom_token", "t")]
        }
        _ if variable.starts_with("AWS") => &[("aws_region", "eu-central-1")],
        _ => &[],
    };
    settings.iter().fold(Config::new(), |config, (name, value)| config.set(name, value))
}

/// The error of opening what the setting configures.
async fn error_of(config: Config, variable: &str) -> String {
    #[cfg(feature = "access")]
    if variable.starts_with("SECRETS_ACCESS_") {
        let opened = crate::access::Access::open(config.access_config().unwrap()).await;
        return opened.unwrap_err().to_string();
    }
    let opened = SecretsManager::from_config(config).await;
    opened.map_err(|error| error.to_string()).expect_err(variable)
}

#[tokio::test]
async fn a_secret_in_place_of_a_path_is_refused_and_not_shown() {
    // Without the feature, the configuration of a database is an error of its own.
    let is_known =
        |variable| cfg!(feature = "access-postgres") || variable != "SECRETS_ACCESS_CA_CERT";
    let files: Vec<_> = suggest::settings()
        .filter(|setting| setting.kind() == SettingKind::File && is_known(setting.variable()))
        .collect();
    assert!(!files.is_empty() || cfg!(not(feature = "env")));
    for setting in files {
        let variable = setting.variable();
        let backend = match variable {
            _ if variable.contains("NATIVE") => "native",
            _ if variable.contains("VAULT") => "hashicorp",
            _ if variable.contains("AWS") => "aws",
            _ if variable.starts_with("STRONGROOM_") => "remote",
            _ => "env",
        };
        for secret in SECRETS {
            let config = config(variable).set("backend", backend).set(variable, secret);
            let shown = format!("{config:?}");
            let error = error_of(config, variable).await;
            let refusal = format!("`{variable}` holds contents, not a path");
            assert!(error.contains(&refusal), "{error}");
            for text in [&error, &shown] {
                assert!(!text.contains(secret) && !text.contains("unter2"), "{variable}: {text}");
            }
        }
    }
}

//! The chapters of the guide, whose code `cargo test -p strongroom-guide --doc` compiles and runs.

/// Compiles the Rust code of a file in Markdown.
macro_rules! compile {
    ($($module:ident: $file:literal),+ $(,)?) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!($file)]
            mod $module {}
        )+
    };
}

compile! {
    readme: "../../README.md",
    contributing: "../../CONTRIBUTING.md",
    introduction: "../src/introduction.md",
    first_steps: "../src/first-steps.md",
    stores: "../src/stores.md",
    stores_env: "../src/stores/env.md",
    stores_hashicorp: "../src/stores/hashicorp.md",
    stores_aws: "../src/stores/aws.md",
    stores_native: "../src/stores/native.md",
    stores_postgres: "../src/stores/postgres.md",
    stores_remote: "../src/stores/remote.md",
    configuration: "../src/configuration.md",
    reads: "../src/reads.md",
    writes: "../src/writes.md",
    rotation: "../src/rotation.md",
    rotation_issuer: "../src/rotation/issuer.md",
    rotation_postgres: "../src/rotation/postgres.md",
    command_line: "../src/command-line.md",
    command_line_run: "../src/command-line/run.md",
    access: "../src/access.md",
    access_audit: "../src/access/audit.md",
    access_policy: "../src/access/policy.md",
    access_webhooks: "../src/access/webhooks.md",
    access_postgres: "../src/access/postgres.md",
    access_limits: "../src/access/limits.md",
    server: "../src/server.md",
    server_deployment: "../src/server/deployment.md",
    redaction: "../src/redaction.md",
    command_line_transfer: "../src/command-line/transfer.md",
    operations: "../src/operations.md",
    backends: "../src/backends.md",
    security: "../src/security.md",
    reference_settings: "../src/reference/settings.md",
    reference_limits: "../src/reference/limits.md",
    reference_errors: "../src/reference/errors.md",
    reference_features: "../src/reference/features.md",
    reference_metrics: "../src/reference/metrics.md",
}

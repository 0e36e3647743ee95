//! The settings of the access rules.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`AccessConfig::from_settings`](crate::AccessConfig::from_settings) builds a
    /// configuration.
    pub const SETTINGS = {
        PATH = Setting::file("SECRETS_ACCESS_PATH", "AccessConfig::new")
            .meaning(
                "the file of the rules and of the audit, which is created if it does not exist; this or the URL is required",
            );
        URL = Setting::text("SECRETS_ACCESS_URL", "AccessConfig::with_database")
            .meaning(
                "the PostgreSQL database of the rules and of the audit, which several hosts can share: \
                 `postgresql://role:password@host:5432/database`; needs the feature `access-postgres`",
            )
            .secret();
        CA_CERT = Setting::file("SECRETS_ACCESS_CA_CERT", "AccessConfig::ca_cert")
            .meaning("the only authorities whose certificate the database may have, in PEM; otherwise those of the platform");
        KEY_FILE = Setting::file("SECRETS_ACCESS_KEY_FILE", "KeySource::File").meaning(
            "a file with the key of the audit, which is created together with a new audit; this or the key is required",
        );
        KEY = Setting::text("SECRETS_ACCESS_KEY", "KeySource::Key")
            .meaning("the key of the audit, in base64")
            .secret();
        GROUP = Setting::number("SECRETS_ACCESS_GROUP", "AccessConfig::group", "the group").meaning(
            "a group whose members may read the file with the key, such as the `fsGroup` of Kubernetes",
        );
        TEMPLATES = Setting::text("SECRETS_ACCESS_TEMPLATES", "AccessConfig::template").meaning(
            "templates by which SPIFFE ids become principals, separated by blanks or commas: \
             `spiffe://example.org/agent/{tenant}/{agent}/{role}`",
        );
        TENANT = Setting::text("SECRETS_ACCESS_TENANT", "AccessConfig::single_tenant")
            .meaning("the one tenant to which the whole store belongs; unless it is set, each has the path with its name");
        AUDIT = Setting::text("SECRETS_ACCESS_AUDIT", "AccessConfig::audit_mode")
            .meaning(
                "when reads are recorded: `durable` (before the value is handed out), `batched`, or `writes` (only \
                 denials and writes)",
            )
            .default_value("durable");
        AUDIT_DELAY = Setting::duration("SECRETS_ACCESS_AUDIT_DELAY", "AuditMode::Batched")
            .meaning("how long records of `batched` wait, which a crash loses: 1 ms to 10 s")
            .default_value("100ms");
        AUDIT_FAILURE = Setting::text("SECRETS_ACCESS_AUDIT_FAILURE", "AccessConfig::audit_failure")
            .meaning("what reads do while they cannot be recorded: `stop` or `continue`")
            .default_value("stop");
        CHECKPOINT_FILE = Setting::file("SECRETS_ACCESS_CHECKPOINT_FILE", "AccessConfig::checkpoints").meaning(
            "a file to which signed checkpoints of the audit are appended, to be shipped elsewhere; opening checks the \
             audit against the last ones",
        );
        CHECKPOINT_INTERVAL = Setting::duration("SECRETS_ACCESS_CHECKPOINT_INTERVAL", "AccessConfig::checkpoints")
            .meaning("how often a checkpoint is written while records are added; at least 1 s")
            .default_value("1h");
        MAX_AGE = Setting::duration("SECRETS_ACCESS_MAX_AGE", "AccessConfig::max_age")
            .meaning("how long rules may be used while the log cannot be read; at least 1 s")
            .default_value("5s");
        POLICY_PATH = Setting::file("SECRETS_ACCESS_POLICY_PATH", "AccessConfig::policy")
            .meaning("a policy in Rego, which narrows what the rules allow; needs the feature `access-rego`");
        POLICY_TIME_LIMIT =
            Setting::duration("SECRETS_ACCESS_POLICY_TIME_LIMIT", "AccessConfig::policy_time_limit")
                .meaning("how long one evaluation of the policy may take before it denies: 1 ms to 1 s")
                .default_value("10ms");
        WEBHOOK_URL = Setting::text("SECRETS_ACCESS_WEBHOOK_URL", "Webhook::new")
            .meaning(
                "an endpoint to which events are sent, as the webhook `default`; needs the feature `access-webhooks`",
            )
            .secret();
        WEBHOOK_SECRET = Setting::text("SECRETS_ACCESS_WEBHOOK_SECRET", "Webhook::new")
            .meaning("`whsec_` and the secret that signs them, in base64, or two of them; this or the file is required")
            .secret();
        WEBHOOK_SECRET_FILE =
            Setting::file("SECRETS_ACCESS_WEBHOOK_SECRET_FILE", "Webhook::with_secret_file")
                .meaning("a file with the secret of the webhook, or with two of them");
        WEBHOOK_EVENTS = Setting::text("SECRETS_ACCESS_WEBHOOK_EVENTS", "Webhook::events")
            .meaning("which events are sent, separated by blanks or commas; `*` at the end stands for any rest")
            .default_value("approval.* grant.* token.* vault.denied secret.* rotation.*");
        WEBHOOK_ALLOW_PRIVATE =
            Setting::flag("SECRETS_ACCESS_WEBHOOK_ALLOW_PRIVATE", "Webhook::allow_private_targets")
                .meaning("whether the endpoint may be in a private network or on this machine")
                .default_value("false");
    }
}

//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`AwsConfig::from_settings`](crate::AwsConfig::from_settings) builds a
    /// configuration. Credentials are not among them: the SDK finds those itself.
    pub const SETTINGS = {
        REGION = Setting::text("AWS_REGION", "AwsConfig::region")
            .meaning("the region; unless it is set, the one that the SDK's default chain finds");
        DEFAULT_REGION = Setting::text("AWS_DEFAULT_REGION", "AwsConfig::region")
            .meaning("the region, if `AWS_REGION` is not set");
        PROFILE = Setting::text("AWS_PROFILE", "AwsConfig::profile")
            .meaning("the profile in the shared configuration files");
        ENDPOINT_URL = Setting::text("AWS_ENDPOINT_URL", "AwsConfig::endpoint_url")
            .meaning("the address of all services, if it is not that of AWS, such as LocalStack's");
        SERVICE_ENDPOINT_URL = Setting::text(
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "AwsConfig::secrets_manager_endpoint_url",
        )
        .meaning("the address of Secrets Manager alone, such as an interface endpoint of a VPC");
        CA_BUNDLE = Setting::file("AWS_CA_BUNDLE", "AwsConfig::ca_bundle").meaning(
            "the certificate authorities to trust, in PEM; unless it is set, those of the platform",
        );
        PREFIX = Setting::text("SECRETS_AWS_PREFIX", "AwsConfig::prefix")
            .meaning("the beginning of the names of all secrets");
        NAMES = Setting::pairs("SECRETS_AWS_NAMES", "AwsConfig::names").meaning(
            "paths for secrets that are not below the prefix, that belong to another account, or whose \
             names are no paths: `db/main=arn:aws:secretsmanager:…, db/admin=rds!db-1234`",
        );
        KMS_KEY_ID = Setting::text("SECRETS_AWS_KMS_KEY_ID", "AwsConfig::kms_key_id")
            .meaning("the KMS key for secrets that are created: an id, an ARN or an alias")
            .default_value("aws/secretsmanager");
        TAGS = Setting::pairs("SECRETS_AWS_TAGS", "AwsConfig::tags")
            .meaning("tags for secrets that are created: `team=payments, env=production`");
        ROLE_ARN = Setting::text("SECRETS_AWS_ROLE_ARN", "AssumedRole::arn")
            .meaning("a role to assume");
        ROLE_SESSION_NAME =
            Setting::text("SECRETS_AWS_ROLE_SESSION_NAME", "AssumedRole::session_name")
                .meaning("the name of the role's session in audit logs; needs a role")
                .default_value("strongroom");
        EXTERNAL_ID = Setting::text("SECRETS_AWS_EXTERNAL_ID", "AssumedRole::external_id")
            .meaning("the external id that the owner of the role demands; needs a role")
            .secret();
        CONNECT_TIMEOUT =
            Setting::duration("SECRETS_AWS_CONNECT_TIMEOUT", "AwsConfig::connect_timeout")
                .meaning("the time limit for a connection")
                .default_value("3s");
        ATTEMPT_TIMEOUT =
            Setting::duration("SECRETS_AWS_ATTEMPT_TIMEOUT", "AwsConfig::attempt_timeout")
                .meaning("the time limit for one of up to three attempts at a request")
                .default_value("5s");
        TIMEOUT = Setting::duration("SECRETS_AWS_TIMEOUT", "AwsConfig::timeout")
            .meaning("the time limit for a whole request")
            .default_value("15s");
        RECOVERY_WINDOW = Setting::number(
            "SECRETS_AWS_RECOVERY_WINDOW",
            "AwsConfig::recovery_window_days",
            "days",
        )
        .meaning("how long a deleted secret can be undeleted: 7 to 30")
        .default_value("30");
        READ_METADATA = Setting::flag("SECRETS_AWS_READ_METADATA", "AwsConfig::read_metadata")
            .meaning(
                "whether reads look up metadata; without it, they make one request each, and nothing \
                 expires",
            )
            .default_value("true");
        METADATA_TTL = Setting::duration("SECRETS_AWS_METADATA_TTL", "AwsConfig::metadata_ttl")
            .meaning("how long reads use cached metadata; `0`: they make a second request each")
            .default_value("5m");
        ALLOW_HTTP = Setting::flag("SECRETS_AWS_ALLOW_HTTP", "AwsConfig::allow_http")
            .meaning("whether plain http to other hosts is allowed")
            .default_value("false");
    }
}

//! How to log in.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{FilePath, Problems, Setting};

use super::{HashicorpConfig, check_mount};
use crate::settings::{
    AUTH, AUTH_MOUNT, AUTH_ROLE, AWS_REGION, AWS_SERVER_ID, CLIENT_CERT, CLIENT_KEY, JWT_FILE,
    PASSWORD, PASSWORD_FILE, ROLE_ID, SECRET_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED, TOKEN,
    USERNAME,
};

/// Where a pod has the token of its service account.
pub(super) const SERVICE_ACCOUNT_TOKEN: &str =
    "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How to authenticate. `Debug` shows no credentials.
///
/// The mount, the role and the namespace of the auth method are
/// [`auth_mount`](HashicorpConfig::auth_mount), [`auth_role`](HashicorpConfig::auth_role) and
/// [`auth_namespace`](HashicorpConfig::auth_namespace).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// A token that the operator has created and revokes. The backend renews it.
    Token(SecretString),
    /// A login with `AppRole`.
    AppRole(AppRole),
    /// A login with the token of a Kubernetes service account. Needs a role.
    Kubernetes(JwtLogin),
    /// A login with a JSON Web Token, such as an identity token of a CI job. Without a role, the
    /// server takes the default role of the auth method.
    Jwt(JwtLogin),
    /// A login with the client certificate of the connection. Without a role, the server tries all
    /// roles of the auth method.
    Cert,
    /// A login with a user name and a password.
    Userpass(Userpass),
    /// A login with AWS credentials, from where AWS's own tools find them: the server has AWS confirm
    /// a signed request. Without a role, the server takes the name of the AWS role. Needs the cargo
    /// feature `aws-iam`.
    AwsIam(AwsIam),
    /// No credentials: the address is that of an agent or proxy, which adds its own token.
    Agent,
}

/// A login with `AppRole`. `Debug` shows no secret id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppRole {
    /// The role id.
    pub role_id: String,
    /// The secret id, or a response-wrapping token that holds it. `None` for a role without
    /// `bind_secret_id`.
    pub secret_id: Option<SecretId>,
    /// Whether the secret id is a response-wrapping token that holds it; default `false`.
    pub wrapped: bool,
}

impl AppRole {
    /// A login with a secret id that is not wrapped, or with `None`.
    #[must_use]
    pub fn new(role_id: impl Into<String>, secret_id: impl Into<Option<SecretId>>) -> Self {
        Self { role_id: role_id.into(), secret_id: secret_id.into(), wrapped: false }
    }
}

/// Where a secret id comes from. `Debug` does not show it.
#[derive(Clone)]
#[non_exhaustive]
pub enum SecretId {
    /// This text.
    Text(SecretString),
    /// The content of a file, without white space around it. It is read at each login, so that an
    /// orchestrator can replace it.
    File(PathBuf),
}

/// A login with a token from a file, which is read at each login: the platform renews it there.
#[derive(Clone)]
#[non_exhaustive]
pub struct JwtLogin {
    /// The file. White space around the token is ignored.
    pub file: PathBuf,
}

impl JwtLogin {
    /// A login with the token in this file.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }
}

/// The token of the service account of this pod.
impl Default for JwtLogin {
    fn default() -> Self {
        Self::new(SERVICE_ACCOUNT_TOKEN)
    }
}

/// A login with a user name and a password. `Debug` does not show the password.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Userpass {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

impl Userpass {
    /// A login as this user.
    #[must_use]
    pub fn new(username: impl Into<String>, password: Password) -> Self {
        Self { username: username.into(), password }
    }
}

/// Where a password comes from. `Debug` does not show it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Password {
    /// This text.
    Text(SecretString),
    /// The content of a file, without a line break at its end. It is read at each login.
    File(PathBuf),
}

/// A login with AWS credentials.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AwsIam {
    /// The region of the STS endpoint that the server asks, such as `eu-central-1`; `None`: the
    /// global endpoint. It must be the one in the `sts_endpoint` of the auth method.
    pub sts_region: Option<String>,
    /// The value of the header `X-Vault-AWS-IAM-Server-ID`, if the auth method demands it.
    pub server_id: Option<String>,
}

impl From<AppRole> for Auth {
    fn from(login: AppRole) -> Self {
        Self::AppRole(login)
    }
}

impl From<Userpass> for Auth {
    fn from(login: Userpass) -> Self {
        Self::Userpass(login)
    }
}

impl Auth {
    /// The name in `SECRETS_VAULT_AUTH`, which is also the default mount of the auth method.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole(_) => "approle",
            Self::Kubernetes(_) => "kubernetes",
            Self::Jwt(_) => "jwt",
            Self::Cert => "cert",
            Self::Userpass(_) => "userpass",
            Self::AwsIam(_) => "aws",
            Self::Agent => "agent",
        }
    }

    /// Whether it has an auth method, with a mount and a namespace.
    fn is_login(&self) -> bool {
        !matches!(self, Self::Token(_) | Self::Agent)
    }

    /// The file that holds the credential, and the setting that names it.
    fn file(&self) -> Option<(Setting, &Path)> {
        match self {
            Self::AppRole(AppRole { secret_id: Some(SecretId::File(file)), .. }) => {
                Some((SECRET_ID_FILE, file))
            }
            Self::Kubernetes(JwtLogin { file }) | Self::Jwt(JwtLogin { file }) => {
                Some((JWT_FILE, file))
            }
            Self::Userpass(Userpass { password: Password::File(file), .. }) => {
                Some((PASSWORD_FILE, file))
            }
            _ => None,
        }
    }

    fn takes_role(&self) -> bool {
        matches!(self, Self::Kubernetes(_) | Self::Jwt(_) | Self::Cert | Self::AwsIam(_))
    }
}

impl HashicorpConfig {
    /// Adds a problem for everything that is wrong with the login; reads no files.
    pub(super) fn check_auth(&self, problems: &mut Problems) {
        let Some(auth) = self.auth() else {
            problems.add(format!(
                "nothing to log in with: set `{ROLE_ID}` and `{SECRET_ID}` or `{SECRET_ID_FILE}` \
                 (AppRole), or `{TOKEN}`, or another way in `{AUTH}`"
            ));
            return;
        };
        if let Some(mount) = &self.auth_mount {
            check_mount(&AUTH_MOUNT, mount, problems);
        }
        if !auth.is_login() && self.auth_mount.is_some() {
            problems.add(format!(
                "`{AUTH_MOUNT}` has no effect with {}; remove it, or log in with an auth method",
                if matches!(auth, Auth::Token(_)) { "a token" } else { "an agent" }
            ));
        }
        match &self.auth_role {
            Some(role) if role.trim().is_empty() => {
                problems.add(format!("`{AUTH_ROLE}` is empty"));
            }
            Some(_) if !auth.takes_role() => {
                let advice = if matches!(auth, Auth::AppRole(_)) {
                    format!("`{ROLE_ID}` says which role it is")
                } else {
                    "remove it".to_owned()
                };
                problems
                    .add(format!("`{AUTH_ROLE}` has no effect with `{}`: {advice}", auth.name()));
            }
            None if matches!(auth, Auth::Kubernetes(_)) => {
                problems.add(format!("`{AUTH_ROLE}` is not set; set it to the role to log in as"));
            }
            _ => {}
        }
        if let Some((setting, file)) = auth.file() {
            problems.collect(FilePath::new(file).check(setting));
        }
        self.check_credentials(&auth, problems);
    }

    fn check_credentials(&self, auth: &Auth, problems: &mut Problems) {
        match auth {
            Auth::Token(token) if !is_one_word(token) => {
                problems.add(format!("`{TOKEN}` is empty or holds spaces or line breaks"));
            }
            Auth::AppRole(AppRole { role_id, secret_id, wrapped }) => {
                if role_id.trim().is_empty() {
                    problems.add(format!("`{ROLE_ID}` is empty"));
                }
                if matches!(secret_id, Some(SecretId::Text(text)) if !is_one_word(text)) {
                    problems.add(format!("`{SECRET_ID}` is empty or holds spaces or line breaks"));
                }
                if secret_id.is_none() && *wrapped {
                    problems.add(format!(
                        "`{SECRET_ID_WRAPPED}` needs `{SECRET_ID}` or `{SECRET_ID_FILE}`"
                    ));
                }
            }
            Auth::Kubernetes(JwtLogin { file }) | Auth::Jwt(JwtLogin { file })
                if file.as_os_str().is_empty() =>
            {
                problems.add(format!("`{JWT_FILE}` is empty; set it to the file with the token"));
            }
            Auth::Cert if self.client_cert.is_none() && self.client_key.is_none() => {
                problems.add(format!(
                    "a login with a certificate needs `{CLIENT_CERT}` and `{CLIENT_KEY}`; set both"
                ));
            }
            Auth::Userpass(Userpass { username, password }) => {
                check_user(username, password, problems);
            }
            Auth::AwsIam(login) => check_aws(login, problems),
            Auth::Token(_) | Auth::Kubernetes(_) | Auth::Jwt(_) | Auth::Cert | Auth::Agent => {}
        }
    }
}

fn check_user(username: &str, password: &Password, problems: &mut Problems) {
    // The name becomes a part of the URL.
    if !super::is_mount(username) || username.contains('/') {
        problems.add(format!("`{USERNAME}` is not a user name such as `app`"));
    }
    match password {
        Password::Text(text) if text.expose_secret().is_empty() => {
            problems.add(format!("`{PASSWORD}` is empty"));
        }
        Password::File(file) if file.as_os_str().is_empty() => {
            problems.add(format!("`{PASSWORD_FILE}` is empty"));
        }
        _ => {}
    }
}

fn check_aws(login: &AwsIam, problems: &mut Problems) {
    let is_region = |region: &String| {
        !region.is_empty()
            && region
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if login.sts_region.as_ref().is_some_and(|region| !is_region(region)) {
        problems.add(format!("`{AWS_REGION}` is not a region such as `eu-central-1`"));
    }
    let is_header =
        |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if login.server_id.as_ref().is_some_and(|id| !is_header(id)) {
        problems.add(format!("`{AWS_SERVER_ID}` is empty or holds spaces or line breaks"));
    }
    if cfg!(not(feature = "aws-iam")) {
        problems.add(format!(
            "`{AUTH}`: a login with AWS credentials is not compiled in; enable the cargo feature \
             `aws-iam` of `strongroom-backend-hashicorp`, or `hashicorp-aws-iam` of `strongroom`"
        ));
    }
}

fn is_one_word(secret: &SecretString) -> bool {
    let text = secret.expose_secret();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::File(file) => f.debug_tuple("File").field(&FilePath::new(file)).finish(),
        }
    }
}

impl fmt::Debug for JwtLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtLogin").field("file", &FilePath::new(&self.file)).finish()
    }
}

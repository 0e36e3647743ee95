//! The login from named settings.

use std::path::Path;

use strongroom_core::{Problems, Setting, Settings};

use super::auth::{AppRole, Auth, AwsIam, JwtLogin, Password, SecretId, Userpass};
use crate::settings::{
    AUTH, AWS_REGION, AWS_SERVER_ID, JWT_FILE, PASSWORD, PASSWORD_FILE, ROLE_ID, SECRET_ID,
    SECRET_ID_FILE, SECRET_ID_WRAPPED, TOKEN, USERNAME,
};

/// One way to log in: its name in `SECRETS_VAULT_AUTH`, the settings that only it takes, and how to
/// build it from them.
struct Method {
    name: &'static str,
    settings: &'static [Setting],
    build: fn(&Settings, bool) -> Result<Auth, String>,
}

const METHODS: &[Method] = &[
    Method { name: "token", settings: &[TOKEN], build: token },
    Method {
        name: "approle",
        settings: &[ROLE_ID, SECRET_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED],
        build: approle,
    },
    Method { name: "kubernetes", settings: &[JWT_FILE], build: kubernetes },
    Method { name: "jwt", settings: &[JWT_FILE], build: jwt },
    Method { name: "cert", settings: &[], build: |_, _| Ok(Auth::Cert) },
    Method { name: "userpass", settings: &[USERNAME, PASSWORD, PASSWORD_FILE], build: userpass },
    Method { name: "aws", settings: &[AWS_REGION, AWS_SERVER_ID], build: aws },
    Method { name: "agent", settings: &[], build: |_, _| Ok(Auth::Agent) },
];

/// How to log in; `None` if nothing is set for it.
pub(super) fn auth(settings: &Settings, problems: &mut Problems) -> Result<Option<Auth>, String> {
    let wrapped = settings.flag(&SECRET_ID_WRAPPED, problems).unwrap_or(false);
    let Some(method) = method(settings)? else { return Ok(None) };
    if let Some(other) = foreign_setting(settings, method) {
        return Err(format!(
            "`{other}` has no effect on a login with {}; remove it, or set `{AUTH}` to the other way \
             to log in",
            describe(method.name)
        ));
    }
    (method.build)(settings, wrapped).map(Some)
}

/// The method that `SECRETS_VAULT_AUTH` names, or whose settings are set.
fn method(settings: &Settings) -> Result<Option<&'static Method>, String> {
    let find = |name: &str| METHODS.iter().find(|method| method.name == name);
    if let Some(name) = settings.expose_value(&AUTH) {
        let names: Vec<_> = METHODS.iter().map(|method| format!("`{}`", method.name)).collect();
        let unknown = || format!("`{AUTH}` is none of {}", names.join(", "));
        return find(&name.to_ascii_lowercase()).map(Some).ok_or_else(unknown);
    }
    let is_set = |name: &str| {
        let method = find(name).filter(|method| has_any(settings, method.settings));
        method.map(|method| method.name)
    };
    match (is_set("token"), is_set("approle"), is_set("userpass")) {
        (Some(_), Some(_), _) => Err(format!(
            "`{TOKEN}` is set together with settings of AppRole; keep one way to log in"
        )),
        (Some(name), None, None) | (None, Some(name), None) | (None, None, Some(name)) => {
            Ok(find(name))
        }
        (None, None, None) => match [JWT_FILE, AWS_REGION, AWS_SERVER_ID]
            .into_iter()
            .find(|setting| settings.contains(setting))
        {
            Some(setting) => Err(format!("`{setting}` needs `{AUTH}`, which says how to log in")),
            None => Ok(None),
        },
        (..) => {
            Err(format!("settings of several ways to log in are set; keep one, or set `{AUTH}`"))
        }
    }
}

fn has_any(settings: &Settings, table: &[Setting]) -> bool {
    table.iter().any(|setting| settings.contains(setting))
}

/// A setting that is for another method alone.
fn foreign_setting(settings: &Settings, method: &Method) -> Option<Setting> {
    let others = METHODS.iter().flat_map(|other| other.settings);
    let mut others = others.filter(|setting| !method.settings.contains(setting));
    others.find(|setting| settings.contains(setting)).copied()
}

fn describe(method: &str) -> String {
    match method {
        "token" => format!("`{TOKEN}`"),
        "approle" => "AppRole".to_owned(),
        name => format!("`{name}`"),
    }
}

fn token(settings: &Settings, _wrapped: bool) -> Result<Auth, String> {
    let token = settings.expose_value(&TOKEN);
    let token = token.ok_or_else(|| format!("`{TOKEN}` is not set"))?;
    Ok(Auth::Token(token.into()))
}

fn approle(settings: &Settings, wrapped: bool) -> Result<Auth, String> {
    let text = settings.expose_value(&SECRET_ID).map(|text| SecretId::Text(text.into()));
    let file = settings.expose_value(&SECRET_ID_FILE).map(|file| SecretId::File(file.into()));
    if text.is_some() && file.is_some() {
        return Err(format!("`{SECRET_ID}` and `{SECRET_ID_FILE}` are set; keep one of them"));
    }
    let secret_id = text.or(file);
    let Some(role_id) = settings.expose_value(&ROLE_ID) else {
        return Err(if secret_id.is_some() {
            format!("a secret id is set without `{ROLE_ID}`; set both")
        } else {
            format!("`{ROLE_ID}` is not set")
        });
    };
    let mut login = AppRole::new(role_id, secret_id);
    login.wrapped = wrapped;
    Ok(login.into())
}

#[expect(clippy::unnecessary_wraps, reason = "the table of methods has one type of function")]
fn kubernetes(settings: &Settings, _wrapped: bool) -> Result<Auth, String> {
    let file = settings.expose_value(&JWT_FILE);
    Ok(Auth::Kubernetes(file.map_or_else(JwtLogin::default, JwtLogin::new)))
}

fn jwt(settings: &Settings, _wrapped: bool) -> Result<Auth, String> {
    let file = settings.expose_value(&JWT_FILE).map(Path::new);
    let file = file.ok_or_else(|| {
        format!("`{JWT_FILE}` is not set; set it to the file with the token to log in with")
    })?;
    Ok(Auth::Jwt(JwtLogin::new(file)))
}

fn userpass(settings: &Settings, _wrapped: bool) -> Result<Auth, String> {
    let text = settings.expose_value(&PASSWORD).map(|text| Password::Text(text.into()));
    let file = settings.expose_value(&PASSWORD_FILE).map(|file| Password::File(file.into()));
    let username = settings.expose_value(&USERNAME);
    match (username, text, file) {
        (_, Some(_), Some(_)) => {
            Err(format!("`{PASSWORD}` and `{PASSWORD_FILE}` are set; keep one of them"))
        }
        (Some(username), Some(password), None) | (Some(username), None, Some(password)) => {
            Ok(Userpass::new(username, password).into())
        }
        (Some(_), None, None) => {
            Err(format!("`{USERNAME}` needs a password: set `{PASSWORD}` or `{PASSWORD_FILE}`"))
        }
        (None, ..) => Err(format!("`{USERNAME}` is not set; set it to the user to log in as")),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the table of methods has one type of function")]
fn aws(settings: &Settings, _wrapped: bool) -> Result<Auth, String> {
    Ok(Auth::AwsIam(AwsIam {
        sts_region: settings.expose_owned(&AWS_REGION),
        server_id: settings.expose_owned(&AWS_SERVER_ID),
    }))
}

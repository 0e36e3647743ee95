//! Tokens for logins with a JSON Web Token (RFC 7519), signed with Ed25519.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use serde_json::json;

use crate::canary::CANARY;

/// Signs tokens, as an identity provider does.
pub struct JwtIssuer(KeyPair);

impl Default for JwtIssuer {
    fn default() -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).expect("a new key"))
    }
}

impl JwtIssuer {
    /// The public key in PEM, for `jwt_validation_pubkeys`.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// A token for a subject and an audience, which expires after `life`. It contains the canary, so that
    /// tests find a leak of it.
    #[must_use]
    pub fn sign(&self, subject: &str, audience: &str, life: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let claims = json!({
            "iss": "strongroom-tests",
            "sub": subject,
            "aud": audience,
            "iat": now.as_secs(),
            "exp": (now + life).as_secs(),
        });
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": CANARY });
        let signed =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.0.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

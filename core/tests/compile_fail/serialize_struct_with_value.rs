use serde::Serialize;
use strongroom_core::SecretValue;

#[derive(Serialize)]
struct Settings {
    api_key: SecretValue,
}

fn main() {}

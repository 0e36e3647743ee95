use strongroom_core::SecretValue;

fn main() {
    let _ = serde_json::to_string(&SecretValue::from("hunter2"));
}

use strongroom_core::SecretValue;

fn main() {
    let value = SecretValue::from("hunter2");
    let _ = format!("Bearer {}", value);
}

use strongroom_core::SecretValue;

fn main() {
    let _ = SecretValue::from("hunter2").to_string();
}

use strongroom_core::SecretValue;

fn log(text: &str) {
    println!("{text}");
}

fn main() {
    log(&SecretValue::from("hunter2"));
}

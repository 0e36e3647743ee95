use strongroom_core::SecretValue;

fn is_default(value: &SecretValue) -> bool {
    *value == "hunter2"
}

fn main() {}

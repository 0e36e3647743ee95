use strongroom_core::Secret;

fn dump(secret: &Secret) {
    let _ = serde_json::to_string(secret);
}

fn main() {}

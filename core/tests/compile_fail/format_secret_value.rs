use strongroom_core::Secret;

fn header(secret: &Secret) -> String {
    format!("Bearer {}", secret.value())
}

fn main() {}

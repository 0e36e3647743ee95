use strongroom_core::Secret;

fn show(secret: &Secret) {
    println!("{secret}");
}

fn main() {}

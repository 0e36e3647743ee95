use strongroom_core::SecretValue;

fn same(one: &SecretValue, other: &SecretValue) -> bool {
    one == other
}

fn main() {}

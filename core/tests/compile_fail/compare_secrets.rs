use strongroom_core::Secret;

fn same(one: &Secret, other: &Secret) -> bool {
    one == other
}

fn main() {}

//! A token that is removed and returned, for a process that has initialized the module itself: a child, since the kit
//! initializes it in this one.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use strongroom_core::{ErrorKind, WrappingKey as _};
use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};
use strongroom_testkit::canary;
use strongroom_testkit::softhsm::{PIN, Token};
use strongroom_testkit::wrapping_key::context;

/// Set in the child: its URI.
const CHILD: &str = "PKCS11_CHILD";
/// Set in the child: the token's folder.
const FOLDER: &str = "PKCS11_CHILD_FOLDER";
const DONE: &str = "the token works again";

#[test]
fn a_token_that_was_removed_and_returned_works_again() {
    let token = Token::create();
    token.add_key("key", 1);
    let child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, token.uri("key"))
        .env(FOLDER, token.directory())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && output.contains(DONE),
        "{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// The work of the child; does nothing in the test process itself.
#[tokio::test]
async fn child() {
    let Ok(uri) = env::var(CHILD) else { return };
    canary::watch();
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    let kept = folder.with_file_name(format!("../returned-{}", std::process::id()));
    let module = strongroom_testkit::softhsm::module();
    let key = Pkcs11Key::new(Pkcs11Config::new(module, Pin::Text(PIN.into())), uri).unwrap();
    let given = canary::text("key");

    // It is not there at the first call, which initializes the module.
    std::fs::rename(&folder, &kept).unwrap();
    let error = key.wrap(&given, &context()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_temporary(), "{error}");
    std::fs::rename(&kept, &folder).unwrap();
    let wrapped = key.wrap(&given, &context()).await.unwrap();
    for _ in 0..3 {
        std::fs::rename(&folder, &kept).unwrap();
        for _ in 0..2 {
            let error = key.unwrap(&wrapped, &context()).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Unavailable && error.is_temporary(), "{error}");
        }
        std::fs::rename(&kept, &folder).unwrap();
        let unwrapped = key.unwrap(&wrapped, &context()).await;
        let unwrapped = unwrapped.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(unwrapped.expose_bytes(), given.expose_bytes());
    }
    println!("{DONE}");
}

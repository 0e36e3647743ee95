//! The policy of the page: what would be a way in does not work in a real browser.

use serde_json::json;

use crate::person::Person;

/// Counts what the browser refuses.
const WATCH: &str = "window.refused = [];
    document.addEventListener('securitypolicyviolation', (event) => window.refused.push(event.effectiveDirective))";

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_stops_inline_code_and_other_servers() {
    let mut person = Person::logged_in().await;
    person.browser.eval(WATCH);
    let attempts = [
        ("style-src-attr", "document.body.setAttribute('style', 'color: red')"),
        ("connect-src", "fetch('https://example.com/').catch(() => {})"),
        (
            "img-src",
            "(() => { const image = document.createElement('img'); image.src = 'https://example.com/a.png'; })()",
        ),
        (
            "frame-src",
            "(() => { const frame = document.createElement('iframe'); frame.src = '/'; document.body.append(frame); })()",
        ),
    ];
    for (directive, attempt) in attempts {
        person.browser.eval(&format!("void {attempt}"));
        person.browser.wait(&format!("window.refused.includes({})", json!(directive)));
    }
    // Text cannot become markup at all, and no policy can be made that would allow it.
    for attempt in [
        "document.body.innerHTML = '<p>'",
        "trustedTypes.createPolicy('a', {createHTML: (text) => text})",
    ] {
        let thrown = person.browser.eval(&format!("(() => {{ try {{ {attempt}; return 'done'; }} catch (error) {{ return error.name; }} }})()"));
        assert!(thrown == "TypeError" || thrown == "EvalError", "{attempt}: {thrown}");
    }
    // Markup that is there in spite of it does not run.
    let frame =
        person.browser.call("Page.getFrameTree", &json!({}))["frameTree"]["frame"]["id"].clone();
    let html = "<p id=forged onclick='window.taken = 1'>forged</p><script>window.taken = 1</script>
        <script src='https://example.com/a.js'></script><style>p { color: red }</style>";
    person.browser.call("Page.setDocumentContent", &json!({"frameId": frame, "html": html}));
    person.browser.click("#forged");
    let color = person.browser.text("getComputedStyle(document.getElementById('forged')).color");
    assert_ne!(color, "rgb(255, 0, 0)");
    assert_eq!(person.browser.text("typeof window.taken"), "undefined");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_form_sends_nothing_by_itself() {
    let mut person = Person::arrive().await;
    // Without the script, the field would not be part of a URL.
    let named = person.browser.eval("document.querySelectorAll('input[name]').length");
    assert_eq!(named, 0);
    person.browser.eval(WATCH);
    person
        .browser
        .eval("HTMLFormElement.prototype.submit.call(document.getElementById('login-form'))");
    person.browser.wait("window.refused.includes('form-action')");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_on_no_disk() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/secrets");
    person.go("#/audit");
    let token = secrecy::ExposeSecret::expose_secret(&person.owner.token).to_owned();
    let mut folders = vec![person.browser.profile().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files += 1;
                let is_there = bytes.windows(token.len()).any(|part| part == token.as_bytes());
                assert!(!is_there, "the token is in {}", path.display());
            }
        }
    }
    assert!(files > 5, "the browser has no profile");
    person.leave();
}

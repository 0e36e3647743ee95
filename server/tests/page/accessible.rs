//! The page without a mouse, and for people who hear it, in light, dark and on a phone.

use crate::person::Person;

const SECTIONS: [&str; 5] =
    ["#/secrets", "#/secret/production/openai/api-key", "#/due", "#/access", "#/audit"];

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_wrong_in_any_section() {
    let mut person = Person::arrive().await;
    person.stock().await;
    for scheme in ["light", "dark"] {
        person.browser.prefer(scheme);
        assert_eq!(person.browser.axe(), Vec::<String>::new(), "login, {scheme}");
        person.picture(&format!("login-{scheme}"));
    }
    person.log_in();
    for (name, width, height, is_phone) in
        [("desktop", 1280, 800, false), ("phone", 390, 844, true)]
    {
        person.browser.resize(width, height, is_phone);
        for scheme in ["light", "dark"] {
            person.browser.prefer(scheme);
            for section in SECTIONS {
                person.go(section);
                assert_eq!(
                    person.browser.axe(),
                    Vec::<String>::new(),
                    "{section}, {scheme}, {name}"
                );
                let is_wide =
                    person.browser.eval("document.documentElement.scrollWidth > innerWidth");
                assert_eq!(is_wide, false, "{section} is wider than the {name}");
                let section = section.trim_start_matches("#/").split('/').next().unwrap();
                person.picture(&format!("{section}-{name}-{scheme}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_with_the_keyboard() {
    let mut person = Person::arrive().await;
    person.stock().await;
    person.log_in();
    person.go("#/secrets?");
    // A new section has the focus at its title, so that what follows is read from there.
    assert_eq!(person.browser.text("document.activeElement.id"), "title");
    let mut stops = walk(&mut person, "Tab");
    person.browser.eval("document.getElementById('title').focus()");
    stops.extend(walk(&mut person, "Shift+Tab"));
    for wanted in [
        "skip", "logout", "Secrets", "Due", "Access", "Audit", "prefix", "tag", "kind", "tier",
        "smtp",
    ] {
        assert!(stops.iter().any(|stop| stop == wanted), "no {wanted} in {stops:?}");
    }
    // Without a mouse: from the list to a secret and on.
    person.browser.eval("document.querySelector('tbody th a').focus()");
    person.browser.press("Enter");
    person.browser.wait("document.getElementById('title').textContent === 'smtp'");
    person.settle();
    assert_eq!(person.browser.text("document.activeElement.id"), "title");
    person.go("#/access");
    person.browser.eval("document.querySelector('#main section tbody button').focus()");
    person.browser.press("Enter");
    person.browser.wait("document.getElementById('confirm').open");
    // What does nothing has the focus, and the focus stays in the question.
    assert_eq!(person.browser.text("document.activeElement.id"), "confirm-no");
    person.browser.press("Tab");
    assert_eq!(person.browser.text("document.activeElement.id"), "confirm-yes");
    assert_eq!(person.browser.axe(), Vec::<String>::new());
    person.browser.press("Escape");
    person.browser.wait("!document.getElementById('confirm').open");
    person.leave();
}

/// Presses a key until the focus leaves the page. Returns where it was, and checks that it can be seen there.
fn walk(person: &mut Person, key: &str) -> Vec<String> {
    let mut stops = Vec::new();
    loop {
        assert!(stops.len() < 60, "the focus does not leave the page: {stops:?}");
        person.browser.press(key);
        let stop = person.browser.text(
            "(() => { const at = document.activeElement;
              if (at === document.body) return '';
              const isSeen = getComputedStyle(at).outlineStyle !== 'none';
              return (isSeen ? '' : 'no ring: ') + (at.id || at.textContent.trim()); })()",
        );
        if stop.is_empty() {
            return stops;
        }
        assert!(!stop.starts_with("no ring"), "{stop}");
        stops.push(stop);
    }
}

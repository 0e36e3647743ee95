//! Requests that wait for people. The answers about approvals are those of the test, in the shape of the API, so that it
//! decides when a request comes and goes.

use serde_json::json;

use crate::person::Person;

/// Answers for `/v1/approvals`; every other request goes to the server.
const ANSWERS: &str = r"
window.open = [];
window.decisions = [];
const real = window.fetch;
window.fetch = (path, options) => {
  const answer = (body) => Promise.resolve(new Response(JSON.stringify(body), {status: 200}));
  if (path === '/v1/approvals') return answer({approvals: window.open});
  const decided = /^\/v1\/approvals\/([^/]+)\/(approve|deny)$/.exec(path);
  if (decided === null) return real(path, options);
  window.decisions.push([decided[1], decided[2], options.body ?? '']);
  const one = window.open.find(({id}) => id === decided[1]);
  window.open = window.open.filter((other) => other !== one);
  return answer({...one, status: decided[2] === 'approve' ? 'approved' : 'denied'});
};
window.ask = (id, more) => window.open.push({id, status: 'open', requester: 'agent:assistant', action: 'read',
  path: 'production/openai/api-key', purpose: 'answer customers', reason: 'the evening shift', quorum: 1, approved_by: [],
  requested_at: new Date().toISOString(), ends_at: new Date(Date.now() + 3600000).toISOString(), ...more});
";

/// Clicks decide.
const IS_ARMED: &str = "document.querySelector('.card') && !document.querySelector('.card:not(.over) button[aria-disabled]')";

async fn decider() -> Person {
    let mut person = Person::arrive().await;
    let script = json!({"source": ANSWERS});
    person.browser.call("Page.addScriptToEvaluateOnNewDocument", &script);
    person.browser.call("Page.reload", &json!({}));
    person
        .browser
        .wait("typeof window.ask === 'function' && document.activeElement?.id === 'token'");
    person
}

fn card(number: usize) -> String {
    format!(".card:nth-child({number})")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_click_decides_exactly_what_is_shown() {
    let mut person = decider().await;
    person.browser.eval("ask('one'); ask('two', {requester: 'agent:other', quorum: 2, approved_by: ['person:eve@example.com'], usable_for_seconds: 5400, version: '7'})");
    person.log_in();
    person.browser.wait("document.querySelectorAll('.card').length === 2");
    let shown = person.shown();
    for text in [
        "agent:assistant",
        "production/openai/api-key",
        "answer customers",
        "the evening shift",
        "0 of 1",
        "1 of 2 by person:eve@example.com",
        "once",
        "any number of times for 1 hour 30 minutes after it is approved",
        "in 1 hour",
    ] {
        assert!(shown.contains(text), "no {text} in {shown}");
    }
    person.browser.wait(IS_ARMED);
    for (scheme, width, height, is_phone) in [
        ("light", 1280, 800, false),
        ("dark", 1280, 800, false),
        ("light", 390, 844, true),
        ("dark", 390, 844, true),
    ] {
        person.browser.prefer(scheme);
        person.browser.resize(width, height, is_phone);
        assert_eq!(person.browser.axe(), Vec::<String>::new(), "{scheme} {width}");
        person
            .picture(&format!("approvals-{}-{scheme}", if is_phone { "phone" } else { "desktop" }));
    }
    person.browser.resize(1280, 800, false);
    // The cards have changed their heights, so clicks wait.
    person
        .browser
        .eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    person.browser.wait(IS_ARMED);
    // Another one comes: nothing that is shown moves.
    let place = "JSON.stringify([...document.querySelectorAll('.card')].slice(0, 2).map((card) => card.getBoundingClientRect().top + scrollY))";
    let before = person.browser.text(place);
    person
        .browser
        .eval("window.open.unshift(...window.open.splice(0)); ask('three'); window.open.reverse()");
    person.browser.click(&format!("{} .primary", card(1)));
    person.browser.wait("document.querySelectorAll('.card').length === 3");
    assert_eq!(person.browser.text(place), before);
    assert_eq!(person.browser.eval("window.decisions"), json!([["one", "approve", ""]]));
    person.browser.wait(
        "document.querySelector('.card:nth-child(1) .state').innerText === 'approved by you'",
    );
    assert_eq!(
        person.browser.text("document.querySelector('.card:nth-child(3) h2').id"),
        "request-three"
    );

    // A denial needs a reason.
    person.browser.click(&format!("{} .danger", card(2)));
    person.browser.wait("document.activeElement.id === 'reason-two'");
    person.browser.type_text("not at night");
    person.browser.wait(IS_ARMED);
    person.browser.press("Enter");
    person.browser.wait("window.decisions.length === 2");
    assert_eq!(
        person.browser.eval("window.decisions[1]"),
        json!(["two", "deny", "{\"reason\":\"not at night\"}"])
    );

    // One that is gone cannot be decided.
    person.browser.eval("window.open = []");
    person.browser.eval("document.querySelector('.card:nth-child(3) input').focus()");
    person
        .browser
        .wait("document.querySelector('.card:nth-child(3) .state').innerText === 'no longer open'");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_right_after_something_has_moved_decides_nothing() {
    let mut person = decider().await;
    person.browser.eval("ask('one'); ask('two')");
    person.log_in();
    // As soon as a card is there.
    person.browser.wait("document.querySelector('.card .primary')");
    person.browser.wait(IS_ARMED);
    // In the moment in which the first card grows, a click is on its way to the second one.
    person.browser.eval(
        "new Promise((done) => {
            const [first, second] = document.querySelectorAll('.card');
            const clicked = new ResizeObserver(() => { second.querySelector('.primary').click(); clicked.disconnect(); done(); });
            first.append(document.createElement('hr'));
            clicked.observe(first);
        })",
    );
    assert!(
        person.browser.text("document.getElementById('live').innerText").contains("Look again")
    );
    assert_eq!(person.browser.eval("window.decisions"), json!([]));
    person.browser.wait(IS_ARMED);
    person.browser.click(&format!("{} .primary", card(2)));
    person.browser.wait("window.decisions.length === 1");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_changes_cannot_be_approved() {
    let mut person = decider().await;
    person.browser.eval("ask('one', {note: 'a member that the page has no name for'})");
    person.log_in();
    person.browser.wait("document.querySelectorAll('.card').length === 1");
    assert!(person.shown().contains("a member that the page has no name for"));
    person.browser.eval("window.open[0] = {...window.open[0], path: 'production/payments/stripe'}");
    person.browser.wait(
        "document.querySelector('.card .state').innerText.includes('no longer what is shown')",
    );
    assert_eq!(person.browser.eval("document.querySelector('.card .decision').inert"), true);
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_request_is_only_text() {
    let mut person = decider().await;
    person.browser.eval(
        "ask('one', {reason: '<img src=x onerror=\"window.taken = true\">' + '\\u202e' + 'w'.repeat(500), requester: '<b>admin</b>', path: 'a/\\u202egnp'})",
    );
    person.browser.resize(390, 844, true);
    person.log_in();
    person.browser.wait("document.querySelectorAll('.card').length === 1");
    let shown = person.shown();
    assert!(
        shown.contains("<img src=x")
            && shown.contains("<b>admin</b>")
            && shown.contains("a/U+202Egnp"),
        "{shown}"
    );
    assert_eq!(person.browser.text("typeof window.taken"), "undefined");
    assert_eq!(person.browser.eval("document.querySelectorAll('#main img, #main b').length"), 0);
    assert_eq!(person.browser.eval("document.documentElement.scrollWidth > innerWidth"), false);
    person.leave();
}

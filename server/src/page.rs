//! The page for people: static files, which ask the API with the token that a person pastes.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};

use crate::app::App;

/// The page runs its own files, asks its own server, and turns no text into markup or code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

/// What each file of the page says besides its type.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal: $kind:ident = $name:literal,)*) => {
        &[$(($path, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

/// The path, the type and the text of each file.
const FILES: &[(&str, &str, &str)] = files! {
    "/": HTML = "index.html",
    "/page/access.js": SCRIPT = "access.js",
    "/page/api.js": SCRIPT = "api.js",
    "/page/app.js": SCRIPT = "app.js",
    "/page/approvals.js": SCRIPT = "approvals.js",
    "/page/audit.js": SCRIPT = "audit.js",
    "/page/catalog.js": SCRIPT = "catalog.js",
    "/page/dom.js": SCRIPT = "dom.js",
    "/page/due.js": SCRIPT = "due.js",
    "/page/icon.svg": SVG = "icon.svg",
    "/page/records.js": SCRIPT = "records.js",
    "/page/secrets.js": SCRIPT = "secrets.js",
    "/page/stream.js": SCRIPT = "stream.js",
    "/page/style.css": CSS = "style.css",
    "/page/text.js": SCRIPT = "text.js",
};

/// The files, which anyone may read: there is nothing of a store in them.
pub(crate) fn router() -> Router<Arc<App>> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        let answer = move || async move {
            let kind = HeaderValue::from_static(kind);
            (HEADERS, [(CONTENT_TYPE, kind)], text).into_response()
        };
        router.route(path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
        let served = FILES.iter().map(|(path, ..)| match *path {
            "/" => "index.html".to_owned(),
            path => path.trim_start_matches("/page/").to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn no_file_turns_text_into_markup_or_keeps_the_token() {
        for (path, _, text) in FILES {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
                "localStorage",
                "sessionStorage.",
                "document.cookie",
                "indexedDB",
                "style=\"",
                "javascript:",
                " onclick=",
                "https://",
            ] {
                assert!(!text.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }

    #[test]
    fn no_request_of_the_page_reads_a_value() {
        for (path, kind, text) in FILES {
            if *kind == SCRIPT {
                assert!(!text.contains("resource(\"secrets\""), "{path}");
                assert!(!text.contains("/v1/secrets/") && !text.contains("/v1/batch"), "{path}");
            }
        }
    }
}

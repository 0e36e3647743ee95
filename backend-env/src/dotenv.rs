//! Text of `.env` files: a parser with a written grammar, and a writer whose text it reads back exactly.
//!
//! # Grammar
//! In the notation of RFC 5234, over the characters of a UTF-8 text:
//!
//! ```text
//! file        = [ BOM ] [ line *( eol line ) ]
//! line        = *blank [ comment / assignment ]
//! assignment  = [ "export" 1*blank ] name *blank "=" value
//! name        = ( ALPHA / "_" ) *( ALPHA / DIGIT / "_" / "." / "-" )
//! value       = *blank ( single / double ) *blank [ comment ]
//!             / [ *blank bare ] [ 1*blank [ comment ] ]
//! single      = "'" *( any character except "'" ) "'"
//! double      = DQUOTE *( escape / any character except DQUOTE and "\" ) DQUOTE
//! escape      = "\n" / "\r" / "\t" / "\\" / "\" DQUOTE   ; LF, CR, TAB, "\", DQUOTE
//!             / "\" other                                ; stays as it is
//! bare        = up to the end of the line, or to a blank before "#", without blanks at its end; begins with
//!               neither a quote nor a backtick; begins with "#" only directly after "="
//! comment     = "#" up to the end of the line
//! blank       = SP / HTAB
//! eol         = LF / CR LF
//! ```
//!
//! - **Nothing is substituted.** `$` is a character like any other, in every form, and so is `\` except in
//!   double quotes. `p@$$w0rd` is a password.
//! - Quotes, `#` and blanks inside a bare value belong to it: `it's`, `a#b`, `two words`. A `#` after a blank
//!   begins a comment, with any text in it.
//! - A value in quotes may have several lines. A line break in it is LF, also where the file has CR LF.
//! - Of two assignments to one name, the last counts; [`EnvBackend`](crate::EnvBackend) warns.
//! - Everything else is [`Malformed`], where readers of such files differ most: a line without `=`; a quote
//!   that is not closed, or is followed by text; a value that begins with a backtick; a CR alone; and in
//!   double quotes `\a`, `\b`, `\f`, `\v`, `\'` and `\$`, which some readers take for one character and
//!   others for two.
//!
//! # Beside other readers
//! Where `python-dotenv` and Node's `--env-file` agree on a value, this parser gives the same or reports an
//! error. Docker's `--env-file` has neither quotes nor comments behind values.
//!
//! | file | here | `python-dotenv` 1.2 | Node 22 `--env-file` | Docker `--env-file` |
//! |---|---|---|---|---|
//! | `A=p@$$w0rd` | `p@$$w0rd` | the same | the same | the same |
//! | `A=${HOME}` | `${HOME}` | substitutes | `${HOME}` | `${HOME}` |
//! | `A=a#b` | `a#b` | `a#b` | `a` | `a#b` |
//! | `A=a # b` | `a` | `a` | `a` | `a # b` |
//! | `A= # b` | empty | empty | empty | ` # b` |
//! | `A=#b` | `#b` | `#b` | empty | `#b` |
//! | `A='a'` | `a` | `a` | `a` | `'a'` |
//! | `A='a\\b'` | `a\\b` | `a\b` | `a\\b` | `'a\\b'` |
//! | `A="a\nb"` | two lines | two lines | two lines | `"a\nb"` |
//! | `A="a\tb"` | a tab | a tab | `a\tb` | `"a\tb"` |
//! | `A="a\"b"` | `a"b` | `a"b` | `a\` | `"a\"b"` |
//! | `A="a\$b"` | error | `a\$b` | `a\$b` | `"a\$b"` |
//! | `` A=`a` `` | error | `` `a` `` | `a` | `` `a` `` |
//! | `A='a` | error | error | `'a` | `'a` |
//! | `A="a"b` | error | error | `a` | `"a"b` |
//! | `A` | error | no value | ignored | from Docker's environment |
//! | BOM `A=a` | `a` | `a` | another name | `a` |
//!
//! # Examples
//! ```
//! use strongroom_backend_env::dotenv;
//! use strongroom_core::SecretValue;
//!
//! let password = SecretValue::from("p@$$ w0rd # 'quoted'");
//! let text = dotenv::write([("DB_PASSWORD", &password)])?;
//! assert_eq!(*text, "DB_PASSWORD=\"p@$$ w0rd # 'quoted'\"\n");
//!
//! let assignments = dotenv::parse(&text).unwrap();
//! assert_eq!(assignments[0].name, "DB_PASSWORD");
//! assert!(assignments[0].value.constant_time_eq(&password));
//! # Ok::<(), strongroom_core::Error>(())
//! ```

mod parse;
mod values;
mod write;

pub use parse::{Assignment, Malformed, parse};
pub use values::{Values, parse_values};
pub use write::write;

/// Blanks alone are white space in a line.
const BLANK: [char; 2] = [' ', '\t'];

/// Whether a file can assign a variable of this name.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

//! How deep the expressions of a module are.
//!
//! The parser calls itself for each bracket and each operator, so a deep expression takes the stack of its thread, and
//! one that runs out of it ends the process. Each level of brackets also multiplies the time of the parser. The scan
//! knows as much of the syntax as an upper bound of the depth needs.

/// The most brackets within each other.
const MAX_BRACKETS: usize = 10;
/// The most brackets, operators and references within each other. `==` and `:=` count twice.
const MAX_DEPTH: usize = 128;

#[derive(Clone, Copy, PartialEq)]
enum Token {
    /// A name, a number, a keyword or a text.
    Operand,
    /// Joins what is before it with what follows.
    Operator,
    Open,
    Close,
    /// Ends an element or a statement.
    Separator,
}

/// The depths since a bracket was opened.
#[derive(Clone, Copy, Default)]
struct Level {
    start: usize,
    current: usize,
    deepest: usize,
}

impl Level {
    fn at(depth: usize) -> Self {
        Self { start: depth, current: depth, deepest: depth }
    }

    fn deepen(&mut self, depth: usize) {
        self.current = depth;
        self.deepest = self.deepest.max(depth);
    }
}

#[derive(Default)]
struct Scan {
    outer: Vec<Level>,
    level: Level,
    ends_with_operand: bool,
}

/// The first expression of a module that is too deep.
pub(super) fn problem(module: &str, text: &str) -> Option<String> {
    let mut scan = Scan::default();
    let mut rest = text;
    while let Some((token, length)) = next(rest) {
        if let Some(what) = token.and_then(|token| scan.take(token)) {
            let before = text.get(..text.len() - rest.len()).unwrap_or_default();
            let line = before.split('\n').count();
            return Some(format!("{module}:{line}: {what}"));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

impl Scan {
    fn take(&mut self, token: Token) -> Option<String> {
        // The parser takes two operands without an operator for two statements.
        if token == Token::Separator || (token == Token::Operand && self.ends_with_operand) {
            self.level.current = self.level.start;
        }
        self.ends_with_operand = matches!(token, Token::Operand | Token::Close);
        match token {
            Token::Operand | Token::Separator => {}
            Token::Operator => self.level.deepen(self.level.current + 1),
            Token::Open => {
                self.outer.push(self.level);
                self.level = Level::at(self.level.current + 1);
            }
            Token::Close => {
                // What follows is around all that is between the brackets.
                let deepest = self.level.deepest;
                self.level = self.outer.pop().unwrap_or_default();
                self.level.deepen(deepest);
            }
        }
        if self.outer.len() > MAX_BRACKETS {
            return Some(format!("more than {MAX_BRACKETS} brackets are within each other"));
        }
        (self.level.current > MAX_DEPTH).then(|| {
            "an expression has too many operators: make parts of it rules of their own".to_owned()
        })
    }
}

/// The first token and its length in bytes; no token for space and comments.
fn next(text: &str) -> Option<(Option<Token>, usize)> {
    let first = text.chars().next()?;
    let name = |it: char| it.is_alphanumeric() || it == '_';
    Some(match first {
        '#' => (None, text.find(['\n', '\0']).unwrap_or(text.len())),
        '"' => (Some(Token::Operand), quoted(text)),
        '`' => (Some(Token::Operand), raw(text)),
        '(' | '[' | '{' => (Some(Token::Open), 1),
        ')' | ']' | '}' => (Some(Token::Close), 1),
        ',' | ';' => (Some(Token::Separator), 1),
        it if it.is_whitespace() => (None, it.len_utf8()),
        it if name(it) => {
            let length = text.find(|it| !name(it)).unwrap_or(text.len());
            let is_operator = text.get(..length) == Some("in");
            (Some(if is_operator { Token::Operator } else { Token::Operand }), length)
        }
        other => (Some(Token::Operator), other.len_utf8()),
    })
}

/// The length of a text in quotes, which ends at the end of its line at the latest.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, it)| match it {
        _ if std::mem::take(&mut is_escaped) => false,
        '\\' => {
            is_escaped = true;
            false
        }
        it => matches!(it, '"' | '\n'),
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of a text between backticks.
fn raw(text: &str) -> usize {
    text.char_indices().skip(1).find(|(_, it)| *it == '`').map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests;

//! JSON with line comments, as Kafka's schemas are written in. Numbers stay text: a schema's
//! defaults are written as numbers or as strings, and mean the same.

/// A value. Objects keep the order of their members: fields stand in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// Text that is no JSON: the line, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub line: usize,
    pub expected: &'static str,
}

pub fn parse(text: &str) -> Result<Value, Malformed> {
    let mut parser = Parser { text, position: 0 };
    let value = parser.value()?;
    parser.skip_blanks();
    if parser.position < text.len() {
        return Err(parser.malformed("the end of the text"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value, Malformed> {
        match self.peek() {
            Some('{') => self.members('{', '}', Self::member).map(Value::Object),
            Some('[') => self.members('[', ']', Self::value).map(Value::List),
            Some('"') => self.string().map(Value::Text),
            Some('-' | '0'..='9') => {
                Ok(Value::Number(self.take_while(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).to_owned()))
            }
            Some(_) => match self.take_while(|c| c.is_ascii_lowercase()) {
                "null" => Ok(Value::Null),
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(self.malformed("a value")),
            },
            None => Err(self.malformed("a value")),
        }
    }

    fn member(&mut self) -> Result<(String, Value), Malformed> {
        self.skip_blanks();
        let name = self.string()?;
        self.expect(':', "a colon after a member's name")?;
        Ok((name, self.value()?))
    }

    /// What stands between two brackets, separated by commas.
    fn members<T>(
        &mut self,
        open: char,
        close: char,
        mut member: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.expect(open, "a bracket")?;
        let mut members = Vec::new();
        while self.peek() != Some(close) {
            if !members.is_empty() {
                self.expect(',', "a comma or the closing bracket")?;
            }
            members.push(member(self)?);
        }
        self.expect(close, "the closing bracket")?;
        Ok(members)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.expect('"', "a string")?;
        let mut string = String::new();
        loop {
            string.push_str(self.take_while(|c| c != '"' && c != '\\' && c != '\n'));
            match self.next() {
                Some('"') => return Ok(string),
                Some('\\') => string.push(self.escaped()?),
                _ => return Err(self.malformed("the end of the string")),
            }
        }
    }

    /// Schemas are English prose and names: escapes of code points do not occur.
    fn escaped(&mut self) -> Result<char, Malformed> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some(c @ ('"' | '\\' | '/')) => Ok(c),
            _ => Err(self.malformed("an escape of a quote, a slash, a line end or a tab")),
        }
    }

    fn expect(&mut self, wanted: char, expected: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(wanted) {
            self.position += wanted.len_utf8();
            return Ok(());
        }
        Err(self.malformed(expected))
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    /// The next character that is neither blank nor comment.
    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !is_wanted(c)).unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed { line: self.text[..self.position].matches('\n').count() + 1, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Value, parse};

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn members_keep_their_order_and_comments_are_passed_over() {
        let parsed =
            parse("// a licence\n{ \"b\": [1, -2.5], // why\n \"a\": \"x // y \\\"z\\\"\" , \"n\": null }\n// end");
        let numbers = Value::List(vec![Value::Number("1".to_owned()), Value::Number("-2.5".to_owned())]);
        let expected = [("b", numbers), ("a", text("x // y \"z\"")), ("n", Value::Null)];
        assert_eq!(parsed, Ok(Value::Object(expected.map(|(name, value)| (name.to_owned(), value)).into())));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_line() {
        let malformed = |line, expected| Err(Malformed { line, expected });
        assert_eq!(parse("{\n\"a\" 1}"), malformed(2, "a colon after a member's name"));
        assert_eq!(parse("[1\n2]"), malformed(2, "a comma or the closing bracket"));
        assert_eq!(parse("[1, 2"), malformed(1, "a comma or the closing bracket"));
        assert_eq!(parse("\"a\nb\""), malformed(2, "the end of the string"));
        assert_eq!(parse("\"\\u0041\""), malformed(1, "an escape of a quote, a slash, a line end or a tab"));
        assert_eq!(parse("nil"), malformed(1, "a value"));
        assert_eq!(parse("{} {}"), malformed(1, "the end of the text"));
        assert_eq!(parse(""), malformed(1, "a value"));
    }
}

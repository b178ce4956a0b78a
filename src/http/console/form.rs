//! The fields of a form or query, as a browser sends them: URL-encoded, or in parts when a file comes along (RFC 7578).

use memchr::memmem;

/// Fields of one form.
const FIELDS_MAX: usize = 500;

/// The fields of a form or query, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// URL-encoded fields.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).take(FIELDS_MAX).map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The body of a POST, whose content type says how it is written.
    pub(super) fn of_body(content_type: &str, bytes: &[u8]) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("multipart/form-data") {
            return Self::parse(bytes);
        }
        let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
        boundary.map(|boundary| Self::parts(bytes, boundary.trim_matches('"'))).unwrap_or_default()
    }

    /// A part's file is read as its text.
    fn parts(bytes: &[u8], boundary: &str) -> Self {
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let starts: Vec<usize> = memmem::find_iter(bytes, &delimiter).take(FIELDS_MAX + 1).collect();
        let mut fields = Vec::new();
        for pair in starts.windows(2) {
            let [start, end] = pair else { continue };
            let part = bytes.get(start + delimiter.len()..*end).unwrap_or_default();
            let Some(split) = memmem::find(part, b"\r\n\r\n") else { continue };
            let (head, body) = part.split_at(split);
            let head = String::from_utf8_lossy(head);
            let name = head.split(';').find_map(|item| item.trim().strip_prefix("name=\"")?.split('"').next());
            let body = body.get(4..).unwrap_or_default();
            let body = body.strip_suffix(b"\r\n").unwrap_or(body);
            fields.extend(name.map(|name| (name.to_owned(), String::from_utf8_lossy(body).into_owned())));
        }
        Self(fields)
    }

    /// The first field with this name, blanks aside; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field as it was typed.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str())
    }

    /// A field of several lines, with the line ends that we write.
    pub(super) fn lines(&self, name: &str) -> String {
        self.raw(name).replace("\r\n", "\n")
    }

    /// Every value of the fields with this name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// The same fields as a query, with one set anew or, when `value` is empty, left out; empty ones are left out.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (own, value) in self.0.iter().filter(|(own, value)| own != name && !value.is_empty()) {
            query.append_pair(own, value);
        }
        if !value.is_empty() {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_form() {
        let form = Form::parse(b"q=a+b&tag=&tag=x%26y&q=second");
        assert_eq!((form.get("q"), form.get("nothing"), form.has("tag")), ("a b", "", true));
        assert_eq!(form.all("tag").collect::<Vec<_>>(), ["", "x&y"]);
        assert_eq!(form.with("q", "c d"), "tag=x%26y&q=c+d");
        assert_eq!(form.with("tag", ""), "q=a+b&q=second");
    }

    #[test]
    fn a_file_comes_along() {
        let body = "--B\r\nContent-Disposition: form-data; name=\"scope\"\r\n\r\nagent\r\n--B\r\nContent-Disposition: \
            form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\naddress\r\na@example.com\r\n\r\n--B--\r\n";
        let form = Form::of_body("multipart/form-data; boundary=B", body.as_bytes());
        assert_eq!((form.get("scope"), form.lines("file").as_str()), ("agent", "address\na@example.com\n"));
        for broken in ["", "--B", "--B\r\nno head--B", "--B--B--B", "--B\r\n\r\nx--B"] {
            assert!(!Form::of_body("multipart/form-data; boundary=B", broken.as_bytes()).has("file"), "{broken}");
        }
        assert!(!Form::of_body("multipart/form-data", body.as_bytes()).has("file"));
    }
}

//! The rewriter as its callers see it, in small mails.

use proptest::prelude::*;

use super::*;

/// Answers with a URL that tells what it was asked; `refuses` a target that contains this.
#[derive(Default)]
struct Plain {
    asked: Vec<(u16, LinkKind, String)>,
    refuses: Option<&'static str>,
}

impl Links for Plain {
    fn pixel(&mut self) -> Option<String> {
        Some("https://t.example/o/x".into())
    }

    fn link(&mut self, index: u16, kind: LinkKind, target: &str) -> Option<String> {
        self.asked.push((index, kind, target.to_owned()));
        let is_refused = self.refuses.is_some_and(|refused| target.contains(refused));
        (!is_refused).then(|| format!("https://t.example/c/{index}x"))
    }
}

const PIXEL: &str = "<img src=\"https://t.example/o/x\" width=\"1\" height=\"1\" alt=\"\" \
    style=\"display:block;float:left;margin:-1px 0 0;border:0;width:1px;height:1px\" />";

const ALL: Wanted<'static> = Wanted {
    opens: true,
    pixel_on_top: false,
    hidden_link: false,
    clicks: true,
    clicks_auto: false,
    text_clicks: true,
    own_base_url: "https://t.example",
    skip_hosts: &[],
};
const CLICKS: Wanted<'static> = Wanted { opens: false, text_clicks: false, ..ALL };

fn rewritten<'a>(message: &'a [u8], wanted: &Wanted<'_>) -> Rewritten<'a> {
    rewrite(message, wanted, &mut Plain::default())
}

fn html(body: &str) -> String {
    format!("Content-Type: text/html; charset=utf-8\r\n\r\n{body}")
}

/// The body of an HTML mail becomes this, `PIXEL` standing for the pixel.
#[track_caller]
fn check(wanted: &Wanted<'_>, body: &str, expected: &str) {
    let message = html(body);
    let out = rewritten(message.as_bytes(), wanted);
    let out_text = String::from_utf8(out.bytes.to_vec()).unwrap();
    assert_eq!(out_text, html(&expected.replace("PIXEL", PIXEL)));
    assert_eq!(*rewritten(&out.bytes, wanted).bytes, *out.bytes, "twice");
}

/// The message stays; the first part says why.
#[track_caller]
fn check_untouched(message: &[u8], why: &str) {
    let out = rewritten(message, &ALL);
    assert!(matches!(out.bytes, Cow::Borrowed(_)), "{why}");
    assert_eq!(out.parts.iter().map(|part| part.untouched).find(Option::is_some), Some(Some(why)));
    assert_eq!((out.links, out.left, out.pixel), (Vec::new(), Vec::new(), false));
}

#[test]
fn links_and_pixel() {
    check(&ALL, "<p>x</p>\r\n", "<p>x</p>PIXEL\r\n");
    check(&ALL, "<a href=\"https://a.example/\">x</a></body>", "<a href=\"https://t.example/c/0x\">x</a>PIXEL</body>");
    check(&CLICKS, "<a href=https://a.example/ id=y>", "<a href=https://t.example/c/0x id=y>");
    check(&CLICKS, "<a href='\r\nhttps://a.example/?b&amp;c '>", "<a href='https://t.example/c/0x'>");
    check(
        &CLICKS,
        "<a href='https://a.example/'><a href='https://b.example/'><area href='https://a.example/'>",
        "<a href='https://t.example/c/0x'><a href='https://t.example/c/1x'><area href='https://t.example/c/0x'>",
    );
    check(&Wanted { clicks: false, ..ALL }, "<a href='https://a.example/'>", "<a href='https://a.example/'>PIXEL");
    check(&Wanted { pixel_on_top: true, ..ALL }, "<body>\r\nx", "<body>PIXEL\r\nx");
    check(&ALL, "x{{open_pixel}}y</body>", "xPIXELy</body>");
    let hidden = "<a href=\"https://t.example/c/16383x\" tabindex=\"-1\" aria-hidden=\"true\" \
        style=\"display:none;mso-hide:all\"></a>";
    check(&Wanted { hidden_link: true, ..ALL }, "x</body>", &format!("xPIXEL{hidden}</body>"));
}

#[test]
fn links_that_stay() {
    for body in [
        "<a href='https://t.example/c/1'>",
        "<a data-no-track href='https://a.example/'>",
        "<a href='https://a.example/\0'>",
        "<a href='mailto:a@b.example'>",
        "<a href='https://a.example/\x1b$B\x1b(B'>",
    ] {
        check(&CLICKS, body, body);
    }
    let marked = html("<a href='https+notrack://a.example/'>");
    assert_eq!(*rewritten(marked.as_bytes(), &CLICKS).bytes, *html("<a href='https://a.example/'>").as_bytes());
    let marked = html("<a href='Http+NoTrack://a.example/'>");
    assert_eq!(*rewritten(marked.as_bytes(), &CLICKS).bytes, *html("<a href='Http://a.example/'>").as_bytes());
}

#[test]
fn nothing_wanted_changes_nothing_but_marks_that_are_ours() {
    let message = html("<a href='https://a.example/'>");
    let out = rewritten(message.as_bytes(), &Wanted::default());
    assert!(matches!(out.bytes, Cow::Borrowed(_)));
    assert_eq!(out.parts[0].untouched, Some(reason::NOT_WANTED));
    let (marked, expected) =
        ("<a href='HTTPS+NoTrack://a.example/?+notrack'>{{open_pixel}}x", "<a href='HTTPS://a.example/?+notrack'>x");
    let untracked = Wanted { clicks: false, opens: false, ..ALL };
    for wanted in [Wanted::default(), untracked] {
        check(&wanted, marked, expected);
    }
    check(&CLICKS, "x{{open_pixel}}y", "xy");
    let text = |link: &str| format!("Content-Type: text/plain\r\n\r\n{link}\r\n");
    let out = without_marks(text("https+notrack://a.example/r").as_bytes()).into_owned();
    assert_eq!(String::from_utf8(out).unwrap(), text("https://a.example/r"));
}

#[test]
fn what_is_told() {
    let message = html("<a href=' https://a.example/?b&amp;c'><a href='https://a.example/?b&c'>");
    let out = rewritten(message.as_bytes(), &ALL);
    let link = |original: &str| LinkReport {
        original: original.into(),
        target: "https://a.example/?b&c".into(),
        tracked: "https://t.example/c/0x".into(),
    };
    assert_eq!(out.links, [link(" https://a.example/?b&amp;c"), link("https://a.example/?b&c")]);
    assert_eq!(out.parts, [PartReport { path: "1".into(), content_type: "text/html".into(), untouched: None }]);
    assert!(out.pixel);
}

#[test]
fn why_links_stay() {
    let wanted = Wanted { clicks_auto: true, ..CLICKS };
    let why = |wanted: &Wanted<'_>, message: &str| {
        let out = rewrite(message.as_bytes(), wanted, &mut Plain { refuses: Some("refused"), ..Plain::default() });
        out.left.iter().map(|left| format!("{} {:?}", left.original, left.why)).collect::<Vec<_>>().join("\n")
    };
    let check = |wanted: &Wanted<'_>, body: &str, expected: &str| assert_eq!(why(wanted, &html(body)), expected);
    let web = "<a href='https://a.example/'>";
    check(&wanted, web, "");
    check(&Wanted { clicks: false, opens: true, ..ALL }, web, "https://a.example/ Off");
    check(&wanted, "<a href='mailto:a@b.example?x&amp;y'>", "mailto:a@b.example?x&amp;y NotWeb");
    check(&wanted, "<a href='https://a.example/?code=1'>", "https://a.example/?code=1 Secret(\"code\")");
    check(&wanted, "<a href='https://refused.example/'>", "https://refused.example/ NoUrl");
    check(&wanted, "<a href='https://a.example/\0'>", "https://a.example/\0 Unclear");
    let out = "OptedOut(OptOut { mark: \"data-pm-no-track\", service: \"Postmark\" })";
    check(&wanted, "<!--[if mso]><v:rect href='u' data-pm-no-track><![endif]-->", &format!("u {out}"));
    let out = "OptedOut(OptOut { mark: \"+notrack\", service: \"Postal\" })";
    check(&wanted, "<a href='https+notrack://a.example/'>", &format!("https+notrack://a.example/ {out}"));
    let line = "x".repeat(970);
    check(&wanted, &format!("<a\r\nhref='https://a.example/'>{line}"), "https://a.example/ LongLine");
    let long = format!("data:{}", "x".repeat(1 << 17));
    check(&wanted, &format!("<a href='{long}'>"), &format!("{long} TooLong"));
    let text = why(&ALL, "\r\nhttps://a.example/{x} http://b.example/[[data-msys-clicktrack=\"0\"]] ftp://c.example");
    let out = "OptedOut(OptOut { mark: \"[[data-msys-clicktrack=\\\"0\\\"]]\", service: \"SparkPost\" })";
    assert_eq!(text, format!("https://a.example/{{x}} UnclearEnd\nhttp://b.example/ {out}\nftp://c.example NotWeb"));
    // Longer in UTF-8 than what is read of a link; its beginning is another one.
    let umlauts = [b"<a href='https://a.example/&amp;".to_vec(), vec![0xe9; 40 << 10], b"'>".to_vec()].concat();
    let latin = [b"Content-Type: text/html; charset=iso-8859-1\r\n\r\n".to_vec(), umlauts].concat();
    let out = rewritten(&latin, &CLICKS);
    assert_eq!((&*out.bytes, out.left[0].why), (&latin[..], LeftAlone::Unclear));
    let many = html(&"<a href='#x'>".repeat(LEFT_MAX + 1));
    assert_eq!(rewritten(many.as_bytes(), &CLICKS).left.len(), LEFT_MAX);
}

const ALTERNATIVE: &str = "Content-Type: multipart/alternative; boundary=b\r\n\r\n\
    --b\r\n\r\nsee https://a.example/x.\r\n\
    --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    <a href=3D\"https://a.example/=\r\nx\">gr=c3=bc=C3=9F</a>=20\r\n\
    --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    PGEgaHJlZj0i\r\naHR0cHM6Ly9h\r\nLmV4YW1wbGUv\r\nIj4=\r\n\
    --b--\r\n";

#[test]
fn every_body_once_the_pixel_once() {
    let mut links = Plain::default();
    let out = rewrite(ALTERNATIVE.as_bytes(), &ALL, &mut links);
    let text = String::from_utf8(out.bytes.into_owned()).unwrap();
    let expected = "Content-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\n\r\nsee https://t.example/c/0x.\r\n\
        --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        <a href=3D\"https://t.example/c/1x\">gr=c3=bc=C3=9F</a><img src=3D\"https://t.=\r\n\
        example/o/x\" width=3D\"1\" height=3D\"1\" alt=3D\"\" style=3D\"display:block;float=\r\n\
        :left;margin:-1px 0 0;border:0;width:1px;height:1px\" />=20\r\n\
        --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PGEgaHJlZj0i\r\naHR0cHM6Ly90\r\nLmV4YW1wbGUv\r\nYy8yeCI+\r\n\
        --b--\r\n";
    assert_eq!(text, expected);
    let asked = [
        (0, LinkKind::Text, "https://a.example/x".into()),
        (1, LinkKind::Html, "https://a.example/x".into()),
        (2, LinkKind::Html, "https://a.example/".into()),
    ];
    assert_eq!(links.asked, asked);
}

#[test]
fn messages_that_stay_whole() {
    check_untouched(b"Content-Type: text/html\r\n\r\n<pre>-----BEGIN PGP MESSAGE-----", reason::SEALED);
    check_untouched(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=2D----BEGIN PGP SIGNED", reason::SEALED);
    check_untouched(b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--", reason::SEALED);
    check_untouched(b"Content-Type: text/html; charset=utf-16\r\n\r\n<p>", reason::CHARSET);
    check_untouched(b"Content-Type: text/html\r\n\r\n\xff\xfe<\0p\0>\0", reason::CHARSET);
    check_untouched(b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGE", reason::ENCODING);
    check_untouched(b"Content-Type: text/html", reason::NOTHING);
    let many: String = (0..=LINKS_MAX).map(|at| format!("<a href='https://a.example/{at}'>\r\n")).collect();
    check_untouched(html(&many).as_bytes(), reason::TOO_MANY_LINKS);
    let message = format!("Content-Type: message/rfc822\r\n\r\n{}", html("<a href='https://a.example/'>"));
    check_untouched(message.as_bytes(), reason::NOT_TEXT);
}

#[test]
fn charsets() {
    let target = |charset: &str, body: &[u8]| {
        let message = [format!("Content-Type: text/html; charset={charset}\r\n\r\n").as_bytes(), body].concat();
        rewritten(&message, &CLICKS).links.pop().map(|link| link.target)
    };
    assert_eq!(
        target("iso-8859-1", b"<a href='https://a.example/\xfc&uuml;'>").as_deref(),
        Some("https://a.example/üü")
    );
    assert_eq!(target("utf-8", b"<a href='https://a.example/\xfc'>"), None);
    assert_eq!(target("shift_jis", b"\x83\x5c<a href='https://a.example/'>").as_deref(), Some("https://a.example/"));
    let hidden = b"\x1b$B<!--\x1b(B<a href='https://a.example/'>";
    assert_eq!(target("iso-2022-jp", hidden).as_deref(), Some("https://a.example/"));
}

#[test]
fn tracked_urls_that_are_not_used() {
    struct Odd(String);
    impl Links for Odd {
        fn pixel(&mut self) -> Option<String> {
            Some(self.0.clone())
        }
        fn link(&mut self, _: u16, _: LinkKind, _: &str) -> Option<String> {
            Some(self.0.clone())
        }
    }
    let long = format!("https://t.example/{}", "x".repeat(URL_CHARS_MAX));
    let short = html("<a href='https://a.example/'>");
    for url in ["https://t.example/\"><b>", "https://t.example/a b", &long] {
        let wanted = if url == long { CLICKS } else { ALL };
        let out = rewrite(short.as_bytes(), &wanted, &mut Odd(url.into()));
        assert!(matches!(out.bytes, Cow::Borrowed(_)), "{url}");
    }
    let long_before = html(&format!("<a href='https://a.example/{}'>", "x".repeat(URL_CHARS_MAX)));
    assert_eq!(rewrite(long_before.as_bytes(), &CLICKS, &mut Odd(long)).links.len(), 1);
    let refused = html("<a href='https://a.example/'><a href='https://b.example/'>");
    let out = rewrite(refused.as_bytes(), &CLICKS, &mut Plain { refuses: Some("a.ex"), ..Plain::default() }).links;
    assert_eq!(out.into_iter().map(|link| link.tracked).collect::<Vec<_>>(), ["https://t.example/c/1x"]);
}

#[test]
fn hostile_mails_come_back() {
    let n = 40_000;
    let repeated = |unit: &str| html(&unit.repeat(n));
    for message in [
        repeated("<a href=https://a.example/>"),
        repeated("<!--[if x]>"),
        repeated("<!--[if x]><a href=https://a.example/>-->"),
        repeated("<"),
        repeated("<a "),
        repeated("</body>"),
        repeated("&#"),
        repeated("<script>"),
        html(&format!("<a href=\"https://a.example/{}\">", "x".repeat(1 << 20))),
        html(&format!("<a {}>", "x ".repeat(n))),
        "Content-Type: message/rfc822\r\n\r\n".repeat(n),
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(n),
        (0..n).map(|at| format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n")).collect(),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n".repeat(n)),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b".repeat(n)),
        format!("\r\n{}", "https://".repeat(n)),
        format!("\r\n{}", "(".repeat(n)),
        format!("\r\n{}", "https://a.example/(((,,,".repeat(n)),
        format!("Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n{}", "http://a ".repeat(10 * n)),
        format!("Content-Type: text/html; {}\r\n\r\n<p>", "a=b;".repeat(n)),
        "X: y\r\n".repeat(n),
        format!("Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/html\r\n\r\n{}", "=20".repeat(n)),
    ] {
        let out = rewritten(message.as_bytes(), &ALL);
        assert_eq!(*rewritten(&out.bytes, &ALL).bytes, *out.bytes);
    }
}

proptest! {
    /// Mails with bytes changed, dropped and doubled: never a panic, and twice is once.
    #[test]
    fn broken_mails(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, prop_oneof![Just(b'\n'), Just(b'-'), any::<u8>()]), 0..12),
    ) {
        let mut message = ALTERNATIVE.as_bytes().to_vec();
        for (index, kind, byte) in edits {
            let at = index.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => drop(message.remove(at)),
                _ => message.insert(at, byte),
            }
        }
        prop_assert_eq!(&*rewritten(&message, &Wanted::default()).bytes, &message);
        let out = rewritten(&message, &ALL);
        prop_assert_eq!(&*rewritten(&out.bytes, &ALL).bytes, &*out.bytes);
    }

    /// HTML made of pieces that matter: all bytes outside of what was replaced survive.
    #[test]
    fn other_bytes_survive(pieces in proptest::collection::vec(prop::sample::select(vec![
        "<a href=\"", "https://a.example/", "\"", ">", "'", " ", "\r\n", "<!--[if mso]>", "-->", "<![endif]-->", "</body>",
        "<v:rect href=https://b.example/ ", "<script>", "</script>", "&amp;", "&", "text", "<", "=", "ü", "{{open_pixel",
    ]), 0..40)) {
        let message = html(&pieces.concat());
        let out = rewritten(message.as_bytes(), &ALL);
        let mut back = String::new();
        let mut rest = std::str::from_utf8(&out.bytes).unwrap().to_owned();
        if out.pixel {
            rest = rest.replacen(PIXEL, "", 1);
        }
        for link in &out.links {
            let (before, after) = rest.split_once(&link.tracked).unwrap();
            back += before;
            back += &link.original;
            rest = after.to_owned();
        }
        prop_assert_eq!(back + &rest, message);
    }

    #[test]
    fn any_bytes(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        rewritten(&message, &ALL);
        rewritten(&[b"Content-Type: text/html\r\n\r\n".to_vec(), message].concat(), &ALL);
    }
}

//! What templates mean, as a table: Mustache's rules, Handlebars' where Mustache has none, and what is refused.

use serde_json::json;

use super::*;

#[track_caller]
fn check(source: &str, data: Value, expected: &str) {
    let script = Script::new(source, Escape::Html).unwrap();
    assert_eq!(script.render(&data, &mut Budget::default()).as_deref(), Ok(expected), "{source} with {data}");
}

#[test]
fn values() {
    check("Hi {{name}}!", json!({ "name": "Ann" }), "Hi Ann!");
    check("{{ name }}{{\tname\n}}", json!({ "name": "Ann" }), "AnnAnn");
    check("{{x}}", json!({ "x": "<a href=\"'`\">&" }), "&lt;a href&#x3D;&quot;&#x27;&#x60;&quot;&gt;&amp;");
    check("{{{x}}}{{&x}}{{& x }}", json!({ "x": "<b>&" }), "<b>&<b>&<b>&");
    check("{{x}}", json!({ "x": "{{name}}", "name": "Ann" }), "{{name}}");
    check("{{missing}}|{{a.b.c}}|{{{no}}}", json!({ "a": { "b": 1 } }), "||");
    check("{{a.b.c}} {{a.list.1}}", json!({ "a": { "b": { "c": "deep" }, "list": [1, 2] } }), "deep 2");
    check(
        "{{i}} {{f}} {{t}} {{n}} {{l}} {{o}}",
        json!({ "i": 7, "f": 1.5, "t": true, "n": null, "l": [1, "a"], "o": {} }),
        "7 1.5 true  1,a ",
    );
    check("{{user.name}}", json!({ "user.name": "flat" }), "flat");
    check(
        "{{first name}} {{order-id}} {{[a b].c}}",
        json!({ "first name": "Ann", "order-id": 7, "a b": { "c": 8 } }),
        "Ann 7 8",
    );
    check("{{grüße}} 😀", json!({ "grüße": "é" }), "é 😀");
    check("", json!({}), "");
    check("no tags } }} { here", json!({}), "no tags } }} { here");
    check(r"\{{name}} \ {{name}}", json!({ "name": "Ann" }), r"{{name}} \ Ann");
    check("{{name}}", json!([]), "");
    check("{{open_pixel}}{{name}}", json!({ "name": 1, "open_pixel": 2 }), "{{open_pixel}}1");
}

#[test]
fn mustache_sections() {
    let people = json!({ "people": [{ "name": "Ann" }, { "name": "Bob" }], "none": [], "name": "outer", "yes": true });
    check("{{#people}}{{name}},{{/people}}", people.clone(), "Ann,Bob,");
    check("{{#people}}{{this.name}};{{/people}}", people.clone(), "Ann;Bob;");
    check("{{#none}}x{{/none}}{{^none}}empty{{/none}}{{^people}}x{{/people}}", people.clone(), "empty");
    check("{{#people}}{{#yes}}{{name}}{{/yes}}{{/people}}", people.clone(), "AnnBob");
    check("{{#missing}}x{{/missing}}{{^missing}}y{{/missing}}", people.clone(), "y");
    check("{{#people}}{{../name}} {{/people}}", people, "outer outer ");
    check("{{#a}}{{b}}{{c}}{{/a}}", json!({ "a": { "b": 1 }, "c": 2 }), "12");
    check("{{#a}}{{b.x}}{{/a}}", json!({ "a": { "b": {} }, "b": { "x": "outer" } }), "");
    check("{{#list}}{{.}}{{/list}}", json!({ "list": [1, "a", true] }), "1atrue");
    check("{{#a}}{{#a}}{{.}}{{/a}}{{/a}}", json!({ "a": ["x", "y"] }), "xyxy");
    check("{{#text}}[{{.}}]{{/text}}", json!({ "text": "x" }), "[x]");
    check(
        "{{#zero}}x{{/zero}}{{#empty}}x{{/empty}}{{#nothing}}x{{/nothing}}",
        json!({ "zero": 0, "empty": "", "nothing": null }),
        "",
    );
    check("a{{! a comment }}b{{!-- with }} inside --}}c", json!({}), "abc");
}

#[test]
fn handlebars_blocks() {
    let data = json!({ "a": true, "b": false, "list": [{ "n": 1 }, { "n": 2 }], "object": { "x": 1, "y": 2 }, "n": 0 });
    check("{{#if a}}yes{{else}}no{{/if}}{{#if b}}yes{{else}}no{{/if}}", data.clone(), "yesno");
    check("{{#if b}}1{{else if a}}2{{else}}3{{/if}}", data.clone(), "2");
    check("{{#if b}}1{{else if n}}2{{else}}3{{/if}}!", data.clone(), "3!");
    check("{{#if b}}1{{else if n}}2{{else unless a}}3{{else}}4{{/if}}!", data.clone(), "4!");
    check("{{#unless b}}x{{else}}y{{/unless}}", data.clone(), "x");
    check("{{#each list}}{{@index}}={{this.n}}{{#unless @last}},{{/unless}}{{/each}}", data.clone(), "0=1,1=2");
    check("{{#each list}}{{#if @first}}first {{/if}}{{../a}}{{/each}}", data.clone(), "first truetrue");
    check("{{#each object}}{{@key}}:{{this}} {{/each}}", data.clone(), "x:1 y:2 ");
    check("{{#each nothing}}x{{else}}none{{/each}}", data.clone(), "none");
    check("{{#with object}}{{x}}{{@root.a}}{{/with}}", data.clone(), "1true");
    check("{{#list}}{{n}}{{else}}none{{/list}}", data.clone(), "12");
    check("{{#each list}}{{#if n}}{{n}}{{/if}}{{/each}}", data.clone(), "12");
    check("{{#each list}}{{#each ../list}}{{@index}}{{../n}} {{/each}}{{/each}}", data, "01 11 02 12 ");
    check("a {{~name~}} b", json!({ "name": "x" }), "axb");
}

#[test]
fn lines_that_tags_have_for_themselves_go() {
    let data = json!({ "list": [1, 2] });
    check(
        "<ul>\n  {{#list}}\n  <li>{{.}}</li>\n  {{/list}}\n</ul>\n",
        data.clone(),
        "<ul>\n  <li>1</li>\n  <li>2</li>\n</ul>\n",
    );
    check("a\r\n{{#list}}\r\n{{.}}\r\n{{/list}}\r\nb", data.clone(), "a\r\n1\r\n2\r\nb");
    check("a {{#list}}\n{{.}}{{/list}}", data.clone(), "a \n1\n2");
    check("{{! first }}\nx", data.clone(), "x");
    check("{{#list}}\n{{.}}\n{{/list}}", data, "1\n2\n");
}

#[track_caller]
fn refused(source: &str, expected: &str) {
    let fault = Script::new(source, Escape::Html).unwrap_err();
    assert_eq!(fault.to_string(), expected, "{source}");
}

#[test]
fn what_cannot_be_used() {
    refused("a\n{{name", "line 2: a tag is opened with {{ and never closed");
    refused("{{{name}}", "line 1: a tag is opened with {{ and never closed");
    refused("\n\n{{#a}}x", "line 3: the section \"a\" is never closed");
    refused("{{#a}}x{{/b}}", "line 1: \"/b\" does not belong to an open section");
    refused("x{{/a}}", "line 1: \"/a\" does not belong to an open section");
    refused("{{else}}", "line 1: \"else\" does not belong to an open section");
    refused("{{#if a}}{{else}}{{else}}{{/if}}", "line 1: \"else\" does not belong to an open section");
    refused("{{> partial}}", "line 1: \"> partial\" is not supported");
    refused("{{=<% %>=}}", "line 1: \"=<% %>=\" is not supported");
    refused("{{#if (eq a b)}}x{{/if}}", "line 1: \"#if (eq a b)\" is not supported");
    refused("{{#list a b}}x{{/list}}", "line 1: \"#list a b\" is not supported");
    refused("{{#each a as |b|}}x{{/each}}", "line 1: \"#each a as |b|\" is not supported");
    refused("{{date \"short\"}}", "line 1: \"date \\\"short\\\"\" is not supported");
    refused("{{}}", "line 1: a tag has no name");
    refused("a\0", "the template holds a NUL");
    refused(&"{{#a}}".repeat(33), "line 1: sections are more than 32 deep");
    refused(&"x".repeat(SOURCE_BYTES_MAX + 1), "the template is larger than 1048576 bytes");
}

#[test]
fn nobody_can_make_it_work_for_long() {
    let many = json!({ "a": vec![0; 1_000], "text": "x".repeat(1_000), "deep": vec![vec![0; 1_000]; 1_000] });
    let run = |source: &str| {
        let script = Script::new(source, Escape::Plain).unwrap();
        script.render(&many, &mut Budget::default())
    };
    assert_eq!(run("{{#a}}{{#a}}{{#a}}{{/a}}{{/a}}{{/a}}"), Err(Fault::TooManySteps));
    assert_eq!(
        run("{{#a}}{{text}}{{text}}{{text}}{{text}}{{text}}{{/a}}"),
        Err(Fault::OutputTooLarge { bytes_max: OUTPUT_BYTES_MAX })
    );
    assert_eq!(run(&"{{deep}}".repeat(1_000)), Err(Fault::OutputTooLarge { bytes_max: OUTPUT_BYTES_MAX }));
    assert_eq!(run(&format!("{}x{}", "{{#if a}}".repeat(32), "{{/if}}".repeat(32))).as_deref(), Ok("x"));
    for hostile in ["{{".repeat(100_000), "{{!".repeat(100_000), "\\{{".repeat(100_000), " \t".repeat(100_000)] {
        let _ = Script::new(&hostile, Escape::Html);
    }
}

#[test]
fn a_budget_is_for_all_recipients() {
    let script = Script::new("{{#list}}x{{/list}}", Escape::Plain).unwrap();
    let data = json!({ "list": vec![0; 100_000] });
    let mut budget = Budget::default();
    let filled = (0..100).take_while(|_| script.render(&data, &mut budget).is_ok()).count();
    assert!((5..40).contains(&filled), "{filled}");
}

#[test]
fn bytes_are_for_all_recipients_and_texts() {
    let body = || Some("{{#a}}{{{b}}}{{/a}}".to_owned());
    let data = json!({ "a": vec![1; 40], "b": "x".repeat(100_000) });
    let compiled = Compiled::new(&Texts { subject: "s".into(), html: body(), text: body() }).unwrap();
    let mut budget = Budget::default();
    let filled = (0..500).take_while(|_| compiled.fill(&data, &mut budget).is_ok()).count();
    assert_eq!(filled, ALL_BYTES_MAX / 8_000_001);
    let refused = compiled.fill(&data, &mut budget).map_err(|flawed| flawed.fault);
    assert_eq!(refused, Err(Fault::AllTooLarge));
    // A subject ends where a mail's must, however small the rest is.
    let compiled = Compiled::new(&Texts { subject: "{{b}}".into(), html: None, text: None }).unwrap();
    let fault = Fault::OutputTooLarge { bytes_max: SUBJECT_BYTES_MAX };
    let refused = compiled.fill(&data, &mut Budget::default());
    assert_eq!(refused, Err(Flawed { part: Part::Subject, fault }));
}

#[test]
fn all_texts_of_a_mail() {
    let texts = Texts {
        subject: "Hi {{name}} & {{b}}".into(),
        html: Some("<p>{{name}}{{missing}}</p>".into()),
        text: Some("{{name}} {{also.missing}}".into()),
    };
    let compiled = Compiled::new(&texts).unwrap();
    let preview = compiled.preview(&json!({ "name": "<Ann>", "b": "" })).unwrap();
    let filled =
        Texts { subject: "Hi <Ann> & ".into(), html: Some("<p>&lt;Ann&gt;</p>".into()), text: Some("<Ann> ".into()) };
    assert_eq!(preview, Preview { texts: filled.clone(), missing: vec!["also.missing".into(), "missing".into()] });
    assert_eq!(compiled.fill(&json!({ "name": "<Ann>" }), &mut Budget::default()), Ok(filled));
    let flawed = Compiled::new(&Texts { text: Some("{{".into()), ..texts }).unwrap_err();
    assert_eq!(flawed, Flawed { part: Part::Text, fault: Fault::Unclosed { line: 1 } });
}

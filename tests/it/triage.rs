//! Reports that wait for a person: the command line and the admin listener of the true program.

use serde_json::Value;

use crate::support::agent::{Agent, ask, post, printed, run};
use crate::support::submitter::Submitter;

const HOME: &str = "bounces.tests.example";

fn from(agent: &Agent, request: &str, token: &str) -> String {
    let fields = [("Authorization", format!("Bearer {token}"))];
    ask(agent.address("admin"), request, &fields, "").unwrap()
}

#[test]
fn a_report_waits_until_somebody_has_seen_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("rules.toml"), "[[rule]]\nname = 'tea'\nreason = 'policy'\nany = ['tea is cold']\n")
        .unwrap();
    let home = format!("reports.return_path_domain={HOME}");
    let own = ["--set", &home, "--set", "admin.token=open-sesame", "--set", "reports.rules=rules.toml"];
    let agent = Agent::start(folder, &own);
    let mail = r#"{"from":"app@tests.example","to":"kim@there.example","subject":"Hello","text":"Hello"}"#;
    let answer = post(agent.address("http"), "/api/v1/emails", &agent.credential("API key"), mail).unwrap();
    let at = answer.find("msg_").unwrap();
    let message = &answer[at..at + 36];
    let copy = printed(folder, &["why", message, "--mail"]);
    let sealed = copy.lines().find_map(|line| line.strip_prefix("X-Postback-Ref: ")).unwrap().trim();
    let hand_in = |mail: &str| {
        let mut session = Submitter::stranger(agent.address("smtp")).unwrap();
        session.hand_in("", &format!("{sealed}@{HOME}"), mail.replace('\n', "\r\n").as_bytes()).unwrap();
    };
    hand_in("From: kim@there.example\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nBack soon.\n");
    hand_in(
        "From: MAILER-DAEMON@there.example\nSubject: Undelivered Mail\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nSorry.\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; there.example\n\n\
         Final-Recipient: rfc822; kim@there.example\nAction: failed\nStatus: 5.0.0\n\
         Diagnostic-Code: smtp; 550 The tea is cold\n\n--b--\n",
    );

    let told = printed(folder, &["why", message]);
    assert!(told.contains("report of kind bounce: bounced: policy (soft) [rule tea]"), "{told}");
    let list = printed(folder, &["bounces", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[1].contains("autoreply") && lines[1].ends_with("an automatic reply"), "{list}");
    let id = lines[1].split(' ').next().unwrap();
    let all = printed(folder, &["bounces", "list", "--all"]);
    let bounced = all.lines().find(|line| line.contains("bounced: policy")).and_then(|line| line.split(' ').next());
    let shown = printed(folder, &["bounces", "show", bounced.unwrap()]);
    assert!(
        shown.contains("verdict   about the content; suppresses nothing; the same mail would come back"),
        "{shown}"
    );
    assert_eq!(printed(folder, &["bounces", "list", "--all", "--jsonl"]).lines().count(), 2);
    assert!(printed(folder, &["bounces", "show", id]).contains("outcome   an automatic reply; waits for a person"));
    assert!(printed(folder, &["bounces", "show", id, "--mail"]).ends_with("Back soon.\r\n"));

    for (request, token, status) in [
        ("GET /reports", "", "401"),
        ("GET /reports", "open", "401"),
        ("GET /reports?open=maybe", "open-sesame", "400"),
        ("GET /reports/rpt_1", "open-sesame", "404"),
        ("POST /reports", "open-sesame", "404"),
        ("GET /reports/reclassify", "open-sesame", "404"),
        ("POST /reports/reclassify", "open", "401"),
        ("POST /reports/reclassify?after=msg_1", "open-sesame", "400"),
        ("POST /reports/reclassify?apply=yes", "open-sesame", "400"),
    ] {
        let answer = from(&agent, request, token);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    let all = from(&agent, "GET /reports?open=true&limit=1", "open-sesame");
    assert!(all.contains(id) && all.contains("\"kind\":\"autoreply\""), "{all}");
    let mail = from(&agent, &format!("GET /reports/{id}/mail"), "open-sesame");
    let bounced = from(&agent, &format!("GET /reports/{}", bounced.unwrap()), "open-sesame");
    assert!(bounced.contains(r#""axis":"content","retry":"no","suppresses":false"#), "{bounced}");
    assert!(mail.contains("nosniff") && mail.contains("Back soon."), "{mail}");
    assert!(from(&agent, &format!("POST /reports/{id}/close"), "open-sesame").starts_with("HTTP/1.1 204"));
    assert_eq!(printed(folder, &["bounces", "list"]).lines().count(), 1);
    let again = run(folder, &["bounces", "close", id]);
    assert_eq!(String::from_utf8_lossy(&again.stderr), format!("postback: no report {id} is open\n"));

    // The server goes by its own rules, the command line here by the built-in ones.
    let mut after = String::new();
    for (of, next) in [(1, true), (1, true), (0, true), (0, false)] {
        let request = format!("POST /reports/reclassify?limit=1&apply=true{after}");
        let answer = from(&agent, &request, "open-sesame");
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!((&answer["reports"], &answer["refusals"]), (&of.into(), &0.into()), "{answer}");
        assert_eq!(answer["changed"], Value::Array(Vec::new()), "{answer}");
        assert_eq!(answer["next"].is_string(), next, "{answer}");
        after = format!("&after={}", answer["next"].as_str().unwrap_or_default());
    }
    let changed = printed(folder, &["bounces", "reclassify", "--apply"]);
    assert!(changed.contains("bounce policy (soft) [rule tea]  →  bounce unknown (soft) [rule none]"), "{changed}");
    assert!(changed.ends_with("1 of 2 reports and 0 of 0 refusals have another verdict\n"), "{changed}");
    // What that made of it is put right again by the server.
    let answer = from(&agent, "POST /reports/reclassify?days=1&apply=true", "open-sesame");
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let [changed] = answer["changed"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    let rules = [&changed["before"], &changed["after"]].map(|verdict| verdict["cause"]["rule"].as_str().unwrap());
    assert_eq!((rules, answer["reports"].as_u64()), (["none", "tea"], Some(2)), "{answer}");
    assert!(printed(folder, &["why", message]).contains("rule tea"));
    assert!(agent.stop().success());
}

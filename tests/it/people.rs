//! People of the console, on both engines: an invitation makes one user and then leads nowhere; a session ends with its
//! user, its password and its time.

use std::time::Duration;

use postback::clock::Clock;
use postback::ids::IdSource;
use postback::model::id::{EventId, TenantId, UserId};
use postback::model::secret::Secret;
use postback::model::tenant::AgentSettings;
use postback::model::time::Timestamp;
use postback::model::totp::SecondFactor;
use postback::model::user::{AuditEntry, Invitation, Role, User};
use postback::store::StoreError;

use crate::support::engines::on_both_engines;
use crate::support::node::Node;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn user(ids: &IdSource, email: &str) -> User {
    User {
        id: UserId::from_uuid(ids.uuid(START)),
        email: email.into(),
        name: "Ann".into(),
        password: Secret::new("hash"),
        role: Role::Support,
        tenant: None,
        second_factor: None,
        created_at: START,
    }
}

fn entry(actor: &str, tenant: Option<TenantId>) -> AuditEntry {
    let [action, object, address] = ["added webhook", "wh_1", "192.0.2.1"].map(str::to_owned);
    AuditEntry { at: START, actor: actor.into(), action, object, address, tenant }
}

on_both_engines! {
    async fn an_invitation_makes_one_user(engine: &Engine) {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(1));
        let store = engine.store("node-1", &clock).await;
        let expires_at = START + Duration::from_secs(60);
        for digest in [[1; 32], [2; 32], [3; 32]] {
            store.invite(Invitation { digest, role: Role::Support, tenant: None, user: None, expires_at }).await.unwrap();
        }
        assert_eq!(store.invitation(&[1; 32]).await.unwrap().map(|found| found.role), Some(Role::Support));
        let ann = user(&ids, "ann@example.com");
        assert!(store.join([1; 32], ann.clone()).await.unwrap());
        assert_eq!(store.user("ann@example.com").await.unwrap(), Some(ann));
        assert_eq!(store.invitation(&[1; 32]).await.unwrap(), None);
        assert!(!store.join([1; 32], user(&ids, "eve@example.com")).await.unwrap());
        // An address that is taken uses up no invitation.
        let taken = store.join([2; 32], user(&ids, "ann@example.com")).await;
        assert!(matches!(taken, Err(StoreError::Conflict)));
        assert!(store.invitation(&[2; 32]).await.unwrap().is_some());
        clock.advance(Duration::from_secs(61));
        assert_eq!(store.invitation(&[3; 32]).await.unwrap(), None);
        store.close().await;
    }

    async fn a_session_ends_with_its_user_its_password_and_its_time(engine: &Engine) {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(1));
        let store = engine.store("node-1", &clock).await;
        for (digest, email) in [([1; 32], "ann@example.com"), ([2; 32], "bob@example.com")] {
            let invitation = Invitation { digest, role: Role::Owner, tenant: None, user: None, expires_at: START + Duration::from_secs(9) };
            store.invite(invitation).await.unwrap();
            assert!(store.join(digest, user(&ids, email)).await.unwrap());
        }
        let ann = store.user("ann@example.com").await.unwrap().unwrap();
        let bob = store.user("bob@example.com").await.unwrap().unwrap();
        for (digest, whose) in [([1; 32], ann.id), ([2; 32], ann.id), ([3; 32], bob.id), ([4; 32], bob.id)] {
            store.begin_session(digest, whose, false).await.unwrap();
        }
        store.set_password(ann.id, Secret::new("other")).await.unwrap();
        assert!(store.session(&[1; 32]).await.unwrap().is_none());
        assert_eq!(store.user("ann@example.com").await.unwrap().unwrap().password, Secret::new("other"));
        clock.advance(Duration::from_secs(100));
        store.touch_session(&[3; 32]).await.unwrap();
        store.forget_sessions(START, START + Duration::from_secs(50)).await.unwrap();
        assert!(store.session(&[4; 32]).await.unwrap().is_none());
        let session = store.session(&[3; 32]).await.unwrap().unwrap();
        assert_eq!((session.user.email.as_str(), session.created_at), ("bob@example.com", START));
        assert!(store.remove_user(None, "bob@example.com").await.unwrap());
        assert!(store.session(&[3; 32]).await.unwrap().is_none());
        assert_eq!(store.users(None, "", 10).await.unwrap().len(), 1);
        store.close().await;
    }

    async fn people_of_one_tenant_are_not_anothers(engine: &Engine) {
        let Node { store, ids, tenant: one, .. } = Node::build(engine, 0, AgentSettings::default()).await;
        let (other, expires_at) = (TenantId::from_bytes([2; 16]), START + Duration::from_secs(60));
        for (digest, email, tenant) in [([1; 32], "ann@example.com", None), ([2; 32], "bob@example.com", Some(one))] {
            let invitation = Invitation { digest, role: Role::Support, tenant, user: None, expires_at };
            store.invite(invitation).await.unwrap();
            assert!(store.join(digest, User { tenant, role: Role::Support, ..user(&ids, email) }).await.unwrap());
        }
        let emails = async |of: Option<TenantId>| -> Vec<String> {
            store.users(of, "", 10).await.unwrap().into_iter().map(|user| user.email).collect()
        };
        assert_eq!(emails(None).await, ["ann@example.com", "bob@example.com"]);
        assert_eq!((emails(Some(one)).await, emails(Some(other)).await), (vec!["bob@example.com".to_owned()], vec![]));
        let role = async |email: &str| store.user(email).await.unwrap().unwrap().role;
        for (of, email, expected) in [
            (Some(other), "bob@example.com", false),
            (Some(one), "ann@example.com", false),
            (Some(one), "bob@example.com", true),
            (None, "ann@example.com", true),
        ] {
            assert_eq!(store.set_role(of, email, Role::ReadOnly).await.unwrap(), expected, "{of:?} {email}");
            assert_eq!(role(email).await == Role::ReadOnly, expected, "{of:?} {email}");
        }
        for (of, expected) in [(Some(other), false), (Some(one), true), (Some(one), false)] {
            assert_eq!(store.remove_user(of, "bob@example.com").await.unwrap(), expected, "{of:?}");
        }
        store.close().await;
    }

    async fn links_that_wait_are_listed_and_revoked(engine: &Engine) {
        let Node { store, clock, ids, tenant: one, .. } = Node::build(engine, 0, AgentSettings::default()).await;
        let now = clock.now();
        let ann = user(&ids, "ann@example.com");
        let invited = |digest: u8, tenant, user, secs| {
            let expires_at = now + Duration::from_secs(secs);
            Invitation { digest: [digest; 32], role: Role::Support, tenant, user, expires_at }
        };
        store.invite(invited(1, None, None, 30)).await.unwrap();
        assert!(store.join([1; 32], ann.clone()).await.unwrap());
        let (soon, late, hers) = (invited(9, Some(one), None, 5), invited(2, Some(one), None, 50), invited(3, None, Some(ann.id), 50));
        for invitation in [&late, &hers, &soon, &invited(4, None, None, 1)] {
            store.invite(invitation.clone()).await.unwrap();
        }
        clock.advance(Duration::from_secs(2));
        let listed = async |of, after: Option<&Invitation>, limit| {
            let after = after.map(|after| (after.expires_at, after.digest));
            store.invitations(of, after, limit).await.unwrap().into_iter().map(|one| one.invitation).collect::<Vec<_>>()
        };
        assert_eq!(listed(None, None, 10).await, [soon.clone(), late.clone(), hers.clone()]);
        assert_eq!(listed(None, Some(&late), 10).await, std::slice::from_ref(&hers));
        assert_eq!(listed(Some(one), None, 1).await, std::slice::from_ref(&soon));
        assert_eq!(listed(Some(one), Some(&soon), 10).await, std::slice::from_ref(&late));
        assert_eq!(store.revoke_invitation(Some(one), hers.digest).await.unwrap(), None, "it is not theirs");
        let revoked = store.revoke_invitation(None, hers.digest).await.unwrap().unwrap();
        assert_eq!((revoked.invitation, revoked.email.as_deref()), (hers.clone(), Some("ann@example.com")));
        assert!(store.revoke_invitation(Some(one), late.digest).await.unwrap().is_some());
        assert!(store.revoke_invitation(Some(one), late.digest).await.unwrap().is_none(), "once");
        assert_eq!((listed(None, None, 10).await, store.invitation(&late.digest).await.unwrap()), (vec![soon], None));
        assert_eq!(Invitation::digest_of(&hers.id()), Some(hers.digest));
        for id in ["", "zz", &hers.id()[1..], &hers.id().replace('0', "+")] {
            assert_eq!(Invitation::digest_of(id), None, "{id}");
        }
        store.close().await;
    }

    async fn a_second_factor_is_good_once(engine: &Engine) {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(1));
        let store = engine.store("node-1", &clock).await;
        let expires_at = START + Duration::from_secs(60);
        store.invite(Invitation { digest: [1; 32], role: Role::Owner, tenant: None, user: None, expires_at }).await.unwrap();
        let ann = user(&ids, "ann@example.com");
        assert!(store.join([1; 32], ann.clone()).await.unwrap());
        let factor = SecondFactor { secret: Secret::new("ABCDEF"), recovery: vec!["11".into(), "22".into()] };
        store.set_second_factor(ann.id, Some(factor.clone())).await.unwrap();
        assert_eq!(store.user("ann@example.com").await.unwrap().unwrap().second_factor, Some(factor));
        assert!(store.use_totp_step(ann.id, 7).await.unwrap());
        assert!(!store.use_totp_step(ann.id, 7).await.unwrap());
        assert!(!store.use_totp_step(ann.id, 6).await.unwrap());
        assert!(store.use_recovery_code(ann.id, "11".into()).await.unwrap());
        assert!(!store.use_recovery_code(ann.id, "11".into()).await.unwrap());
        assert!(!store.use_recovery_code(ann.id, "33".into()).await.unwrap());
        store.begin_session([5; 32], ann.id, true).await.unwrap();
        assert!(store.session(&[5; 32]).await.unwrap().unwrap().is_waiting);
        store.set_second_factor(ann.id, None).await.unwrap();
        assert_eq!(store.user("ann@example.com").await.unwrap().unwrap().second_factor, None);
        store.close().await;
    }

    async fn a_new_password_takes_a_link_that_was_made_for_it(engine: &Engine) {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(1));
        let store = engine.store("node-1", &clock).await;
        let expires_at = START + Duration::from_secs(60);
        let invitation = |digest, user| Invitation { digest, role: Role::Support, tenant: None, user, expires_at };
        for digest in [[1; 32], [2; 32]] {
            store.invite(invitation(digest, None)).await.unwrap();
        }
        let ann = user(&ids, "ann@example.com");
        assert!(store.join([1; 32], ann.clone()).await.unwrap());
        store.begin_session([5; 32], ann.id, false).await.unwrap();
        // A link for somebody new is none for a new password, nor the other way round.
        assert_eq!(store.renew([2; 32], ann.id, Secret::new("other")).await.unwrap(), None);
        store.invite(invitation([3; 32], Some(ann.id))).await.unwrap();
        assert!(!store.join([3; 32], user(&ids, "eve@example.com")).await.unwrap());
        for digest in [[4; 32], [6; 32]] {
            store.invite(invitation(digest, Some(ann.id))).await.unwrap();
        }
        let (one, two) = tokio::join!(
            store.renew([3; 32], ann.id, Secret::new("other")),
            store.renew([4; 32], ann.id, Secret::new("other")),
        );
        let used = [one.unwrap(), two.unwrap()].map(|user| user.map(|user| user.email));
        assert_eq!(used.iter().flatten().collect::<Vec<_>>(), ["ann@example.com"], "one ends the other");
        assert_eq!(store.renew([6; 32], ann.id, Secret::new("third")).await.unwrap(), None, "and those not followed");
        assert_eq!(store.user("ann@example.com").await.unwrap().unwrap().password, Secret::new("other"));
        assert!(store.session(&[5; 32]).await.unwrap().is_none());
        store.invite(invitation([7; 32], Some(ann.id))).await.unwrap();
        store.set_password(ann.id, Secret::new("fourth")).await.unwrap();
        assert!(store.invitation(&[7; 32]).await.unwrap().is_none(), "a password that she changes herself ends them too");
        assert!(store.invitation(&[2; 32]).await.unwrap().is_some(), "others are invited as they were");
        store.close().await;
    }

    async fn what_people_did_is_told_newest_first(engine: &Engine) {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(1));
        let store = engine.store("node-1", &clock).await;
        let tenant = TenantId::from_bytes([9; 16]);
        for line in [entry("ann", None), entry("bob", Some(tenant))] {
            store.audit(EventId::from_uuid(ids.uuid(clock.now())), line).await.unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let actors = async |of, before, limit| {
            let lines = store.audit_log(of, before, limit).await.unwrap();
            lines.into_iter().map(|(_, line)| line.actor).collect::<Vec<_>>()
        };
        assert_eq!(actors(None, None, 10).await, ["bob", "ann"]);
        assert_eq!(actors(Some(tenant), None, 10).await, ["bob"]);
        let last = store.audit_log(None, None, 1).await.unwrap()[0].0;
        assert_eq!((actors(None, Some(last), 10).await, actors(Some(tenant), Some(last), 10).await), (vec!["ann".to_owned()], vec![]));
        store.close().await;
    }
}

use std::sync::Arc;

use quivive_delivery::Code;
use quivive_delivery::subscriber::InCommit;
use quivive_domain::AccountState;
use tokio::sync::{Mutex, mpsc};

use super::{Counts, ImportUsers, Refusal, Told};
use crate::facts::UserImported;
use crate::imports::{GROUP, Group, Unreadable, read};
use crate::kernel::Failure;
use crate::testing::{PASSWORD, Scene, Told as Outcome, account, fake_hash, given, nobody};

/// The import of a text in groups, and what is told of it.
fn import(scene: &Scene, text: &str) -> (ImportUsers, mpsc::Receiver<Told>) {
    let (send, groups) = mpsc::channel(1_000);
    read(
        text.as_bytes(),
        &scene.world,
        scene.world.now(),
        |mut group| {
            // An account a group, so that there are many.
            while let Ok(Group { records, .. }) = &mut group
                && records.len() > 1
            {
                let first = Group {
                    records: vec![records.remove(0)],
                    ..Group::default()
                };
                send.try_send(Ok(first)).expect("room");
            }
            send.try_send(group).is_ok()
        },
    );
    of_groups(scene, groups)
}

fn of_groups(
    scene: &Scene,
    groups: mpsc::Receiver<Result<Group, Unreadable>>,
) -> (ImportUsers, mpsc::Receiver<Told>) {
    let (told, heard) = mpsc::channel(1_000);
    let import = ImportUsers {
        file_name: "people.ndjson".to_owned(),
        groups: Mutex::new(groups),
        told,
        kernel: Arc::clone(&scene.kernel),
    };
    (import, heard)
}

/// Between its attempt and its outcome are the accounts.
fn done(told: &Outcome<ImportUsers>) -> Counts {
    assert_eq!(
        told.kinds().last(),
        Some(&"operator.users_import.succeeded")
    );
    *told.answer.as_ref().unwrap_or_else(|why| panic!("{why}"))
}

fn refused(told: &Outcome<ImportUsers>, with: Refusal) {
    assert_eq!(told.kinds().last(), Some(&"operator.users_import.failed"));
    assert!(matches!(&told.answer, Err(Failure::Refused(refusal)) if *refusal == with));
}

fn line(name: &str) -> String {
    let hash = fake_hash(PASSWORD, 0);
    format!(
        "{{\"email\":\"{name}@example.org\",\"password_hash\":\"{}\"}}\n",
        hash.phc()
    )
}

fn all(heard: &mut mpsc::Receiver<Told>) -> Vec<Told> {
    std::iter::from_fn(|| heard.try_recv().ok()).collect()
}

#[tokio::test]
async fn an_account_and_its_event_are_one_commit_under_its_own_key() {
    let scene = nobody();
    let (import, _heard) = import(&scene, &line("ada"));
    let told = scene.when(import).await;
    assert_eq!(
        told.kinds(),
        [
            "operator.users_import.attempted",
            "user.imported",
            "operator.users_import.succeeded"
        ]
    );
    let ada = scene
        .world
        .see(|s| s.accounts.values().next().cloned())
        .expect("an account");
    let event = &told.events[1];
    assert_eq!(event.envelope.key.as_str(), format!("account:{}", ada.id));
    assert_eq!(event.envelope.subject, Some(ada.id.to_string()));
    assert_eq!(
        event.envelope.causation_id,
        Some(told.events[0].envelope.id)
    );
    let sealed = event.personal.as_ref().expect("sealed");
    assert_eq!(sealed.key, format!("s:{}", ada.id));
    let said = told.event::<UserImported>().await;
    assert_eq!(
        (said.user_id, said.email.as_str()),
        (ada.id, "ada@example.org")
    );
    assert!(said.email_verified && said.has_password);
    let text = format!("{:?}", told.events);
    assert!(!text.contains("$fake"), "no hash is told: {text}");
    assert_eq!(scene.world.see(|s| s.guesses.len()), 1, "it can sign in");
}

#[tokio::test]
async fn who_is_imported_signs_in_and_has_our_hash_afterwards() {
    let scene = nobody();
    let (import, _heard) = import(&scene, &line("ada"));
    done(&scene.when(import).await);
    let user = scene
        .world
        .see(|s| *s.accounts.keys().next().expect("an account"));
    let scene = Scene { user, ..scene };
    assert_eq!(scene.account().password, Some(fake_hash(PASSWORD, 0)));
    scene.signed_in().await;
    assert_eq!(scene.account().password, Some(fake_hash(PASSWORD, 1)));
}

#[tokio::test]
async fn the_same_file_again_doubles_nobody_and_misses_nobody() {
    let scene = given(account().verified());
    let file: String = ["ada", "bob", "cleo", "bob"].map(line).concat();
    let part: String = ["ada", "bob"].map(line).concat();
    let (first, _heard) = import(&scene, &part);
    done(&scene.when(first).await);
    let (again, mut heard) = import(&scene, &file);
    let told = scene.when(again).await;
    let counts = Counts {
        imported: 1,
        skipped: 3,
        failed: 0,
    };
    assert_eq!(done(&told), counts);
    let skipped: Vec<_> = all(&mut heard)
        .into_iter()
        .filter_map(|told| match told {
            Told::Skipped { from, to, count } => Some((from.line, to.line, count)),
            _ => None,
        })
        .collect();
    assert_eq!(skipped, [(1, 2, 2), (4, 4, 1)]);
    assert_eq!(scene.world.see(|s| s.accounts.len()), 3);
    let imported = scene.world.kinds();
    let imported = imported.iter().filter(|kind| *kind == "user.imported");
    assert_eq!(imported.count(), 2);
}

#[tokio::test]
async fn twice_in_one_group_is_once() {
    let scene = nobody();
    let mut groups = Vec::new();
    let file: String = ["ada", "bob", "ada"].map(line).concat();
    read(file.as_bytes(), &scene.world, scene.world.now(), |group| {
        groups.push(group);
        true
    });
    let (send, receive) = mpsc::channel(9);
    for group in groups {
        send.try_send(group).expect("room");
    }
    drop(send);
    let (import, _heard) = of_groups(&scene, receive);
    let told = scene.when(import).await;
    let counts = done(&told);
    assert_eq!((counts.imported, counts.skipped), (2, 1));
}

/// Both read that the address is free.
#[tokio::test]
async fn two_imports_of_one_file_at_once_take_everybody_over_once() {
    let scene = nobody();
    let file: String = ["ada", "bob", "cleo"].map(line).concat();
    let ((one, _a), (two, _b)) = (import(&scene, &file), import(&scene, &file));
    let (one, two) = tokio::join!(scene.when(one), scene.when(two));
    let (one, two) = (done(&one), done(&two));
    assert_eq!(one.imported + two.imported, 3);
    assert_eq!(one.skipped + two.skipped, 3);
    assert_eq!(scene.world.see(|s| s.accounts.len()), 3);
    assert!(scene.world.missed().contains(&"account insert"));
}

/// Two groups fit in at once, four are under way.
#[tokio::test(start_paused = true)]
async fn a_group_waits_while_the_vault_has_no_room_for_it() {
    let scene = nobody();
    scene.world.vault_places(300);
    let file: String = (0..4 * GROUP).map(|n| line(&format!("p{n}"))).collect();
    let (send, groups) = mpsc::channel(9);
    read(file.as_bytes(), &scene.world, scene.world.now(), |group| {
        send.try_send(group).is_ok()
    });
    drop(send);
    let (import, _heard) = of_groups(&scene, groups);
    let began = tokio::time::Instant::now();
    let counts = done(&scene.when(import).await);
    assert_eq!(counts.imported, 4 * GROUP as u64);
    assert!(began.elapsed().as_secs() >= 1, "somebody had to wait");
}

#[tokio::test]
async fn what_is_wrong_is_told_and_counted() {
    let scene = nobody();
    let file = format!("{{\"email\":\"ada\"}}\n{}", line("bob"));
    let (import, mut heard) = import(&scene, &file);
    let told = scene.when(import).await;
    let counts = Counts {
        imported: 1,
        skipped: 0,
        failed: 1,
    };
    assert_eq!(
        told.open("operator.users_import.succeeded"),
        serde_json::json!({"imported": 1, "skipped": 0, "failed": 1})
    );
    let heard = all(&mut heard);
    assert!(matches!(&heard[0], Told::Flaw(flaw) if flaw.at.line == 1));
    let reached = Told::Reached {
        read_bytes: file.len() as u64,
        so_far: counts,
    };
    assert_eq!(heard.last(), Some(&reached));
}

#[tokio::test]
async fn a_file_that_breaks_off_is_refused_and_what_was_whole_stays() {
    let scene = nobody();
    let file = format!("[{}", line("ada"));
    let (import, mut heard) = import(&scene, &file);
    let told = scene.when(import).await;
    refused(&told, Refusal::Unreadable);
    assert_eq!(
        told.open("operator.users_import.failed"),
        serde_json::json!({"file_name": "people.ndjson", "reason": "unreadable"})
    );
    assert_eq!(scene.world.see(|s| s.accounts.len()), 1);
    let heard = all(&mut heard);
    assert!(matches!(heard.last(), Some(Told::Unreadable(_))));
}

#[tokio::test]
async fn when_whoever_asked_has_gone_it_ends() {
    let scene = nobody();
    let file: String = (0..9).map(|n| line(&format!("p{n}"))).collect();
    let (import, heard) = import(&scene, &file);
    drop(heard);
    let told = scene.when(import).await;
    refused(&told, Refusal::Interrupted);
    assert!(scene.world.see(|s| s.accounts.len()) < 9);
}

#[tokio::test]
async fn who_was_deactivated_elsewhere_is_here() {
    let scene = nobody();
    let (import, _heard) = import(&scene, "{\"email\":\"ada@example.org\",\"active\":false}");
    done(&scene.when(import).await);
    let state = scene
        .world
        .see(|s| s.accounts.values().next().map(|a| a.state));
    assert_eq!(state, Some(AccountState::Inactive));
}

#[tokio::test]
async fn what_reacts_in_the_commit_may_refuse_one_and_the_others_come() {
    let handlers = InCommit::default().on("guests", |new: &UserImported, _| {
        if new.email.as_str().starts_with("bob") {
            return Err(Code::new("not_one_of_us"));
        }
        Ok(())
    });
    let scene = nobody().reacting(handlers.expect("no name twice"));
    let file: String = ["ada", "bob", "cleo"].map(line).concat();
    let (import, mut heard) = import(&scene, &file);
    let told = scene.when(import).await;
    let counts = done(&told);
    assert_eq!((counts.imported, counts.failed), (2, 1));
    let heard = all(&mut heard);
    let flaws: Vec<_> = heard
        .iter()
        .filter_map(|told| match told {
            Told::Flaw(flaw) => Some((flaw.at.line, flaw.message.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        flaws,
        [(2, "a rule of this server does not permit it: not_one_of_us")]
    );
}

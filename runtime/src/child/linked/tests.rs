use super::super::paired::PairedLink;
use super::*;
use crate::inbox::Wanted;
use antiphon_conversation::Token;
use antiphon_history::{ActivityCall, Ordinal, RunId, RunKey, Site};

fn worker() -> (Arc<Linked>, Arc<Inbox>) {
    let worker = Linked::new(Arc::new(ChildSettings::new("w", "w")), 1);
    let inbox = Arc::new(Inbox::default());
    worker.attach(&inbox);
    assert_eq!(said(&inbox), ["died: it has not been started"]);
    worker.begin();
    (Arc::new(worker), inbox)
}

fn request(leg: u32) -> Request {
    let (activity_type, queue, options, site) = ("a".into(), "default".into(), Default::default(), Site::default());
    let call = Arc::new(ActivityCall { activity_type, queue, input: vec![], options, site });
    let conversation = ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 };
    Request { conversation, leg, token: Token([leg as u8; 16]), run_id: RunId([0; 16]), call, details: None }
}

fn said(inbox: &Inbox) -> Vec<String> {
    let mut messages = Vec::new();
    inbox.take(&mut messages, Wanted::All, Some(Duration::ZERO));
    let word = |message| match message {
        Message::WorkerJoined(worker) => format!("joined: {}", worker.spec().name),
        Message::WorkerDied { how, .. } => format!("died: {how}"),
        Message::Answered { leg, answer, .. } => format!("answered leg {leg}: {answer:?}"),
        Message::Heartbeat { leg, .. } => format!("heartbeat of leg {leg}"),
        _ => "something else".to_owned(),
    };
    messages.into_iter().map(word).collect()
}

/// Lets a scripted process live at the other end of a pair; then it is down.
fn live(worker: &Arc<Linked>, script: impl FnOnce(&PairedLink, Welcome) + Send) -> Ended {
    let (ours, theirs) = PairedLink::pair();
    std::thread::scope(|scope| {
        scope.spawn(|| worker.write(&ours));
        scope.spawn(move || {
            let Down::Welcome(welcome) = down(&theirs) else { panic!("first it is greeted") };
            script(&theirs, welcome);
        });
        worker.read(&ours, "life");
        let Minded::Ended(ended) = worker.mind(Duration::ZERO) else { panic!("its words have ended") };
        worker.down("a test");
        ended
    })
}

fn down(link: &PairedLink) -> Down {
    Down::of(&link.receive().unwrap().unwrap()).unwrap()
}

fn register(link: &PairedLink, Welcome { name, instance, capacity, .. }: Welcome) {
    let queues = ["default".to_owned()].into();
    let (activities, labels) = (["a".to_owned()].into(), BTreeSet::new());
    let register =
        Register { name, instance, queues, activities, labels, capacity: capacity + 9, version: String::new() };
    link.send(&[Up::Register(register).to_frame().unwrap()]).unwrap();
}

#[test]
fn a_life_is_told_in_order_and_every_word_of_it_before_its_end() {
    let (worker, inbox) = worker();
    let responder = |leg| Responder::new(Arc::clone(&inbox), &request(leg));
    let sender = Arc::clone(&worker);
    let ended = live(&worker, move |link, welcome| {
        register(link, welcome);
        // Registered is what it is when the engine can send to it.
        while !sender.is_up() {
            std::thread::yield_now();
        }
        sender.send_all((1..=2).map(|leg| (request(leg), responder(leg))).collect());
        let Down::Dispatch(first) = down(link) else { panic!("the first request") };
        let leg = LegKey { conversation: first.conversation, leg: first.leg };
        let up = [
            Up::Accepted(leg),
            Up::Heartbeat { leg, token: first.token, details: None },
            Up::Result { leg, token: first.token, answer: Answer::Stopped },
        ];
        link.send(&up.map(|up| up.to_frame().unwrap())).unwrap();
    });
    assert_eq!(ended, Ended::Closed);
    assert_eq!(said(&inbox), ["joined: w-1", "heartbeat of leg 1", "answered leg 1: Stopped", "died: a test"]);
    assert_eq!(worker.spec().capacity, 1, "never more than the pool is for");
}

#[test]
fn what_is_sent_to_a_dead_process_tells_the_engine_again_that_it_is_dead() {
    let (worker, inbox) = worker();
    live(&worker, register);
    assert_eq!(said(&inbox), ["joined: w-1", "died: a test"]);
    let both = (1..=2).map(|leg| (request(leg), Responder::new(Arc::clone(&inbox), &request(leg))));
    worker.send_all(both.collect());
    assert_eq!(said(&inbox), ["died: a test"], "once, whose legs are then lost");
    worker.begin();
    live(&worker, register);
    assert_eq!(said(&inbox), ["joined: w-1", "died: a test"], "nothing of the old life reaches the new one");
}

#[test]
fn words_out_of_place_end_a_life() {
    let (worker, inbox) = worker();
    let ended = live(&worker, |link, _| link.send(&[Up::Pong { number: 1 }.to_frame().unwrap()]).unwrap());
    assert!(matches!(&ended, Ended::Broken(how) if how.contains("a Pong frame has no place here")), "{ended:?}");
    worker.begin();
    let ended = live(&worker, |link, welcome| {
        register(link, welcome.clone());
        register(link, welcome);
    });
    assert!(matches!(&ended, Ended::Broken(how) if how.contains("a Register frame has no place here")), "{ended:?}");
    worker.begin();
    let ended = live(&worker, |link, welcome| register(link, Welcome { instance: "another".to_owned(), ..welcome }));
    assert!(matches!(&ended, Ended::Broken(how) if how.contains("it calls itself")), "{ended:?}");
    assert_eq!(said(&inbox), ["died: a test", "joined: w-1", "died: a test", "died: a test"]);
}

#[test]
fn a_stop_tells_to_leave_and_the_end_is_not_told_to_an_engine_that_is_gone() {
    let (worker, inbox) = worker();
    let stopper = Arc::clone(&worker);
    let ended = live(&worker, move |link, welcome| {
        register(link, welcome);
        while !stopper.is_up() {
            std::thread::yield_now();
        }
        stopper.stop();
        assert!(matches!(down(link), Down::Drain { within_ms: 5_000 }));
        link.send(&[Up::Leave { reason: "it was told to".to_owned() }.to_frame().unwrap()]).unwrap();
    });
    assert_eq!(ended, Ended::Left("it was told to".to_owned()));
    assert_eq!(said(&inbox), ["joined: w-1"]);
    assert!(!worker.rest(1_000_000), "there is no next life");
}

//! The worker's side of a link, against an engine that is played by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::wire::{Down, LegKey, Up, Welcome};
use antiphon_conversation::{Answer, Request, Token};
use antiphon_history::{ActivityCall, ConversationKey, Ordinal, Payload, RunId, RunKey, Site};
use antiphon_runtime::child::{Link, LinkError, Offer, PairedLink, Served, serve};
use antiphon_runtime::{ActivityBody, BodyFuture, Task};
use std::sync::Arc;

struct Body(&'static str);

impl ActivityBody for Body {
    fn name(&self) -> &str {
        self.0
    }

    fn site(&self) -> String {
        "serving.rs:1".to_owned()
    }

    fn run(&self, task: Task) -> BodyFuture {
        let forever = self.0 == "forever";
        Box::pin(async move {
            task.responder.heartbeat(Some(Payload::json(b"1".as_slice())));
            if forever {
                std::future::pending::<()>().await;
            }
            Answer::Completed { result: task.request.call.input.clone() }
        })
    }
}

fn key(leg: u32) -> LegKey {
    LegKey { conversation: ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 }, leg }
}

fn dispatch(name: &str, leg: u32) -> Down {
    let (activity_type, input) = (name.into(), vec![Payload::json(b"7".as_slice())]);
    let (options, site) = (Default::default(), Site::default());
    let call = Arc::new(ActivityCall { activity_type, queue: "default".into(), input, options, site });
    let (conversation, token, run_id) = (key(leg).conversation, Token([leg as u8; 16]), RunId([0; 16]));
    Down::Dispatch(Box::new(Request { conversation, leg, token, run_id, call, details: None }))
}

fn welcome() -> Down {
    let (name, instance, version) = ("w-1".to_owned(), "1".to_owned(), "1".to_owned());
    Down::Welcome(Welcome { name, instance, capacity: 4, version })
}

fn say(link: &PairedLink, down: &Down) {
    link.send(&[down.to_frame().unwrap()]).unwrap();
}

fn hear(link: &PairedLink) -> Up {
    Up::of(&link.receive().unwrap().unwrap()).unwrap()
}

/// Serves at one end of a pair while the script plays the engine at the other.
fn served(script: impl FnOnce(&PairedLink) + Send) -> Result<Served, LinkError> {
    let (engine, worker) = PairedLink::pair();
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let (handle, queues) = (tokio.handle().clone(), ["default".to_owned()].into());
    let bodies: Vec<Arc<dyn ActivityBody>> = vec![Arc::new(Body("echo")), Arc::new(Body("forever"))];
    std::thread::scope(|scope| {
        // Where the bodies run.
        scope.spawn(move || tokio.block_on(end));
        scope.spawn(move || script(&engine));
        let served = serve(&worker, Offer { queues, labels: [].into(), bodies }, handle);
        drop((ended, worker));
        served
    })
}

#[test]
fn a_worker_registers_accepts_tells_and_answers() {
    let served = served(|link| {
        say(link, &welcome());
        let Up::Register(register) = hear(link) else { panic!("first it registers") };
        assert_eq!((&*register.name, &*register.instance, register.capacity), ("w-1", "1", 4));
        assert_eq!(register.activities, ["echo".to_owned(), "forever".to_owned()].into());
        say(link, &dispatch("echo", 1));
        let token = Token([1; 16]);
        assert_eq!(hear(link), Up::Accepted(key(1)));
        let details = Some(Payload::json(b"1".as_slice()));
        assert_eq!(hear(link), Up::Heartbeat { leg: key(1), token, details });
        let answer = Answer::Completed { result: vec![Payload::json(b"7".as_slice())] };
        assert_eq!(hear(link), Up::Result { leg: key(1), token, answer });
        say(link, &Down::Ping { number: 9 });
        assert_eq!(hear(link), Up::Pong { number: 9 });
    });
    assert_eq!(served.unwrap(), Served::Abandoned, "the engine is gone");
}

#[test]
fn what_it_has_no_code_for_and_what_is_cancelled_is_answered_as_stopped() {
    let stopped = |link: &PairedLink, leg| loop {
        if let Up::Result { leg: ended, answer, .. } = hear(link) {
            return assert_eq!((ended, answer), (key(leg), Answer::Stopped));
        }
    };
    let served = served(|link| {
        say(link, &welcome());
        say(link, &dispatch("unknown", 1));
        stopped(link, 1);
        say(link, &dispatch("forever", 2));
        say(link, &Down::CancelLeg(key(3)));
        say(link, &Down::CancelLeg(key(2)));
        stopped(link, 2);
    });
    assert_eq!(served.unwrap(), Served::Abandoned);
}

#[test]
fn told_to_leave_it_stops_its_bodies_says_so_and_leaves() {
    let served = served(|link| {
        say(link, &welcome());
        say(link, &dispatch("forever", 1));
        while !matches!(hear(link), Up::Heartbeat { .. }) {}
        say(link, &Down::Drain { within_ms: 60_000 });
        assert!(matches!(hear(link), Up::Result { answer: Answer::Stopped, .. }));
        assert_eq!(hear(link), Up::Leave { reason: "it was told to".to_owned() });
    });
    assert_eq!(served.unwrap(), Served::Drained);
}

#[test]
fn an_engine_that_does_not_keep_to_the_protocol_is_left() {
    let first = served(|link| say(link, &Down::Ping { number: 1 })).unwrap_err();
    assert!(first.to_string().ends_with("a Ping frame has no place here [A0054]"), "{first}");
    let second = served(|link| {
        say(link, &welcome());
        say(link, &welcome());
    });
    assert!(second.unwrap_err().to_string().contains("a Welcome frame has no place here"));
    let worker = served(|link| link.send(&[Up::Pong { number: 1 }.to_frame().unwrap()]).unwrap()).unwrap_err();
    assert!(worker.to_string().contains("a Pong frame has no place here"), "{worker}");
    assert_eq!(served(|link| link.close()).unwrap(), Served::Abandoned);
}

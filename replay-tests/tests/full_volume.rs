//! A real volume that fills up and is emptied again: a small tmpfs, where the machine lets us mount one.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use antiphon::{ActivityContext, Antiphon, CallError, Never, RequestError, WorkflowContext, activity, workflow};
use std::path::{Path, PathBuf};
use std::process::Command;

#[activity]
async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

#[workflow]
async fn keep(ctx: WorkflowContext<'_>, text: String) -> antiphon::Result<usize, CallError<Never>> {
    let first = ctx.call(echo(text)).await?;
    Ok(ctx.call(echo(first)).await?.len())
}

/// A mounted tmpfs that is unmounted when the test ends, however it ends.
struct Volume(PathBuf);

impl Volume {
    fn mount(folder: &Path, size: &str) -> Option<Volume> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder).output().ok()?;
        mounted.status.success().then(|| Volume(folder.to_owned()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Fills the volume to the last byte with a file; removing it makes room again.
fn fill(folder: &Path) -> PathBuf {
    use std::io::Write;
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let block = vec![0u8; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    let byte = [0u8; 1];
    while file.write_all(&byte).is_ok() {}
    path
}

/// Starts and waits, repeating what the errors say may be repeated. Returns how often it was refused.
async fn insist(app: &Antiphon, id: &str, text: &str, emptied: impl Fn(u32)) -> u32 {
    let mut refused = 0;
    loop {
        match app.start(id, keep(text.to_owned())).await {
            Ok(run) => match run.result().await {
                Ok(len) => {
                    assert_eq!(len, text.len());
                    return refused;
                }
                Err(antiphon::RunError::Request(error)) => assert!(error.retryable(), "{error}"),
                Err(error) => panic!("{error}"),
            },
            Err(error) => {
                assert!(error.retryable(), "{error}");
                assert!(matches!(error, RequestError::Engine(_)), "{error}");
            }
        }
        refused += 1;
        emptied(refused);
        assert!(refused < 1_000_000, "the engine never came back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_fills_up_loses_nothing_and_the_engine_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = Volume::mount(folder.path(), "size=16m") else {
        println!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let store = volume.0.join("store");
    std::fs::create_dir(&store).unwrap();
    // Watched from far below the brim, so that the brim itself is met.
    let app = Antiphon::open(&store).workflow(keep).activity(echo).min_free_bytes(0).start().unwrap();
    let text = "x".repeat(200_000);
    for index in 0..5 {
        insist(&app, &format!("before-{index}"), &text, |_| {}).await;
    }
    let filler = fill(&volume.0);
    let refused = insist(&app, "at-the-brim", &text, |refused| {
        if refused == 3 {
            std::fs::remove_file(&filler).unwrap();
        }
    })
    .await;
    assert!(refused >= 3, "the volume was full, and the start said so: {refused}");
    insist(&app, "after", &text, |_| {}).await;
    app.stop();
    let report = antiphon_recorder::sqlite::verify(&store).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);
    let rows = antiphon_recorder::sqlite::snapshot(&store).unwrap().list(&Default::default()).unwrap();
    assert_eq!(rows.len(), 7, "each id is one run");
}

/// Bytes that are left on the volume when it fills up: so that the last of them goes into the log, into the archive, into a
/// checkpoint of either, or into an anchor.
const LEFT: [u64; 7] = [0, 8 << 10, 40 << 10, 200 << 10, 700 << 10, 1500 << 10, 3000 << 10];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_takes_the_last_bytes_nothing_acknowledged_is_lost() {
    for left in LEFT {
        let folder = tempfile::tempdir().unwrap();
        let Some(volume) = Volume::mount(folder.path(), "size=16m") else {
            println!("skipped: mounting a tmpfs is not allowed here");
            return;
        };
        let store = volume.0.join("store");
        let app = Antiphon::open(&store).workflow(keep).activity(echo).min_free_bytes(0).start().unwrap();
        // Not like its neighbours, so that nothing is squeezed or kept once for all.
        let text =
            |index: usize| (0..6_000).map(|word| format!("{:x} ", word * 7919 * (index + 3))).collect::<String>();
        insist(&app, "before", &text(0), |_| {}).await;
        let filler = fill(&volume.0);
        let length = filler.metadata().unwrap().len();
        std::fs::File::options().write(true).open(&filler).unwrap().set_len(length.saturating_sub(left)).unwrap();
        let (mut acknowledged, mut refused) = (vec!["before".to_owned()], 0);
        for index in 1..10_000 {
            let id = format!("at-the-brim-{index}");
            match app.start(&id, keep(text(index))).await {
                Ok(_) => acknowledged.push(id),
                Err(error) => {
                    assert!(error.retryable(), "{left} bytes left: {error}");
                    refused += 1;
                }
            }
            if refused == 3 {
                break;
            }
        }
        assert_eq!(refused, 3, "{left} bytes left, and {} starts fitted in", acknowledged.len());
        std::fs::remove_file(&filler).unwrap();
        insist(&app, "after", "y", |_| {}).await;
        acknowledged.push("after".to_owned());
        for id in &acknowledged {
            assert!(app.get::<keep>(id.as_str()).unwrap().result().await.is_ok(), "{left} bytes left: {id}");
        }
        app.stop();
        let report = antiphon_recorder::sqlite::verify(&store).unwrap();
        assert!(report.is_whole(), "{left} bytes left: {:?}", report.problems);
    }
}

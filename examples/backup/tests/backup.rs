//! Backup, restore and comparison, in this process, on a record in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{ActivityContext, Antiphon};
use backup_job::listing::{self, Found};
use backup_job::{
    BackupError, Fault, Job, Listed, Manifest, Plan, Setting, Summary, Target, backup, compare, path_text, register,
    restore,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A source with one of everything.
fn fill(source: &Path) {
    fs::create_dir_all(source.join("nested/deeper/deepest")).unwrap();
    fs::create_dir(source.join("empty folder")).unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("nested/one"), "the same").unwrap();
    fs::write(source.join("nested/deeper/two"), "the same").unwrap();
    fs::write(source.join("grüße 😀.txt"), "hello").unwrap();
    fs::write(source.join("100%\n\"odd\"\\"), "odd").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"not utf8 \xff\xfe")), "bytes").unwrap();
    let large: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(source.join("nested/deeper/large"), large).unwrap();
    fs::write(source.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("script"), Permissions::from_mode(0o751)).unwrap();
    symlink("nested/one", source.join("link")).unwrap();
    symlink("/nowhere/at all", source.join("nested/dangling")).unwrap();
    fs::set_permissions(source.join("nested/deeper"), Permissions::from_mode(0o750)).unwrap();
}

/// Everything about a folder that a backup keeps, by path.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    for found in listing::walk(folder, &[]).unwrap() {
        let (path, what) = match found {
            Found::File { path, .. } => {
                let file = folder.join(path_text::decode(&path).unwrap());
                let meta = fs::metadata(&file).unwrap();
                let (bytes, time) = (fs::read(&file).unwrap(), (meta.mtime(), meta.mtime_nsec()));
                (path, format!("file {:o} {time:?} {bytes:?}", meta.mode()))
            }
            other => match other.clone() {
                Found::Folder { path, .. } | Found::Link { path, .. } | Found::Reported { path, .. } => {
                    (path, format!("{other:?}"))
                }
                Found::File { path, .. } => (path, String::new()),
            },
        };
        contents.insert(path, what);
    }
    contents
}

struct Bench {
    folder: tempfile::TempDir,
    plan: Plan,
    target: Target,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let plan = Plan::new(&source, &folder.path().join("target"), None, None).unwrap();
        let target = Target::open(&plan.target).unwrap();
        Bench { folder, plan, target }
    }

    async fn back_up(&self, app: &Antiphon) -> Summary {
        let marker = self.plan.begin(&self.target, 4).unwrap();
        app.run(marker.workflow, backup(marker.job)).await.unwrap()
    }
}

fn engine() -> Antiphon {
    register(Antiphon::test(), Setting::default()).start().unwrap()
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up() {
    let bench = Bench::new();
    fill(&bench.plan.source);
    let summary = bench.back_up(&engine()).await;
    let totals = summary.totals;
    assert_eq!((totals.files, totals.folders, totals.links, totals.reported), (8, 4, 2, 0));
    // Two files have the same content.
    assert_eq!(summary.new_objects, 7);

    let manifest = Manifest::read_or_last(&bench.target, None).unwrap();
    let back = bench.folder.path().join("back");
    let restored = restore(&bench.target, &manifest, &back).unwrap();
    assert_eq!((restored.files, restored.bytes, restored.missing), (8, totals.bytes, 0));
    assert_eq!(contents(&back), contents(&bench.plan.source));
    assert_eq!(compare(&manifest, &back, &[]).unwrap(), []);
    // A second restore would mix the two.
    assert!(matches!(restore(&bench.target, &manifest, &back), Err(Fault::Refused(_))));
}

#[tokio::test]
async fn a_second_backup_of_the_same_is_a_snapshot_without_new_objects() {
    let bench = Bench::new();
    fill(&bench.plan.source);
    let app = engine();
    let first = bench.back_up(&app).await;
    let second = bench.back_up(&app).await;
    assert_eq!((first.snapshot, second.snapshot), (1, 2));
    assert_eq!((second.new_objects, second.new_object_bytes, second.totals), (0, 0, first.totals));
    let manifests = [1, 2].map(|number| Manifest::read(&bench.target, number).unwrap().entries);
    assert_eq!(manifests[0], manifests[1]);
    // What the runs needed on the way is gone.
    assert_eq!(fs::read_dir(bench.target.root().join("work")).unwrap().count(), 0);

    fs::write(bench.plan.source.join("empty"), "no longer").unwrap();
    let third = bench.back_up(&app).await;
    assert_eq!((third.snapshot, third.new_objects), (3, 1));
}

/// `backup.list`, and then everything happens that may happen to a folder between listing and reading.
#[antiphon::activity(name = "backup.list", fatal = Fault::is_final)]
async fn list_then_change(act: ActivityContext, job: Job) -> Result<Listed, Fault> {
    let listed = backup_job::list::run(act, job.clone()).await?;
    let source = path_text::decode(&job.source)?;
    fs::remove_file(source.join("vanishes")).unwrap();
    fs::remove_file(source.join("becomes a folder")).unwrap();
    fs::create_dir(source.join("becomes a folder")).unwrap();
    fs::remove_file(source.join("becomes a link")).unwrap();
    symlink("/etc/passwd", source.join("becomes a link")).unwrap();
    Ok(listed)
}

#[tokio::test]
async fn files_that_cannot_be_read_are_reported_and_stop_nothing() {
    let bench = Bench::new();
    for name in ["a", "becomes a folder", "becomes a link", "vanishes", "z"] {
        fs::write(bench.plan.source.join(name), name).unwrap();
    }
    let app = Antiphon::test()
        .workflow(backup)
        .activity(list_then_change)
        .activity(backup_job::page)
        .activity(backup_job::store)
        .activity(backup_job::part)
        .activity(backup_job::manifest)
        .activity(backup_job::tidy)
        .state(Setting::default())
        .start()
        .unwrap();
    let summary = bench.back_up(&app).await;
    assert_eq!((summary.totals.files, summary.totals.reported, summary.new_objects), (2, 3, 2));
    let reported: Vec<_> = summary.reports.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(reported, ["becomes a folder", "becomes a link", "vanishes"]);
    assert!(summary.reports[2].1.contains("vanished"), "{:?}", summary.reports);

    let manifest = Manifest::read_or_last(&bench.target, None).unwrap();
    let back = bench.folder.path().join("back");
    assert_eq!(restore(&bench.target, &manifest, &back).unwrap().missing, 3);
    let differences = compare(&manifest, &bench.plan.source, &[]).unwrap();
    assert_eq!(differences.len(), 3);
    assert!(differences.iter().all(|difference| difference.reported), "{differences:?}");
}

#[tokio::test]
async fn a_file_with_other_bytes_than_its_size_says_is_reported_as_changed() {
    // The files of /proc say that they are empty and are not: like a file that grows while it is read.
    let bench = Bench::new();
    let job = |source: &str| Job {
        source: source.to_owned(),
        target: path_text::encode(bench.target.root()),
        excluded: vec![],
        snapshot: 1,
        parallel: 1,
    };
    let act = || ActivityContext::unit_test().with_state(Setting::default());
    let changed = backup_job::store::run(act(), job("/proc"), "version".to_owned()).await.unwrap_err();
    assert!(matches!(changed, Fault::Changed { .. }), "{changed}");
    assert!(!changed.is_final() && changed.concerns_one_file());
    let vanished = backup_job::store::run(act(), job("/proc"), "no/such".to_owned()).await.unwrap_err();
    assert!(matches!(vanished, Fault::Vanished { .. }) && vanished.is_final(), "{vanished}");
    assert!(backup_job::store::run(act(), job("/proc"), "../etc/passwd".to_owned()).await.is_err());
}

#[tokio::test]
async fn a_target_that_fails_stops_the_backup_with_its_reason() {
    let bench = Bench::new();
    fs::write(bench.plan.source.join("file"), "x").unwrap();
    // A file where the folder of objects should be.
    fs::remove_dir(bench.target.root().join("objects")).unwrap();
    fs::write(bench.target.root().join("objects"), "").unwrap();
    let marker = bench.plan.begin(&bench.target, 4).unwrap();
    let error = engine().run(marker.workflow, backup(marker.job)).await.unwrap_err();
    assert!(matches!(&error, antiphon::RunError::Failed(BackupError::Target(_))), "{error}");
    assert!(error.to_string().contains("objects"), "{error}");
}

#[tokio::test]
async fn more_files_than_fit_a_page_come_out_complete_and_in_order() {
    let bench = Bench::new();
    for number in 0..700 {
        let folder = bench.plan.source.join(format!("{}", number % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}")), format!("{}", number % 50)).unwrap();
    }
    let summary = bench.back_up(&engine()).await;
    assert_eq!((summary.totals.files, summary.new_objects), (700, 50));
    let manifest = Manifest::read_or_last(&bench.target, None).unwrap();
    assert!(manifest.entries.is_sorted_by_key(|entry| entry.path().to_owned()));
    assert_eq!(compare(&manifest, &bench.plan.source, &[]).unwrap(), []);
}

#[tokio::test]
async fn every_kind_of_difference_is_found() {
    let bench = Bench::new();
    fill(&bench.plan.source);
    bench.back_up(&engine()).await;
    let manifest = Manifest::read_or_last(&bench.target, None).unwrap();
    let source = &bench.plan.source;
    let time = fs::metadata(source.join("nested/one")).unwrap().modified().unwrap();
    // The same length and time: only the content tells.
    fs::write(source.join("nested/one"), "THE SAME").unwrap();
    fs::File::open(source.join("nested/one")).unwrap().set_modified(time).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("elsewhere", source.join("link")).unwrap();
    fs::set_permissions(source.join("script"), Permissions::from_mode(0o644)).unwrap();
    fs::write(source.join("new"), "x").unwrap();
    fs::remove_dir(source.join("empty folder")).unwrap();
    let differences = compare(&manifest, source, &[]).unwrap();
    let paths: Vec<_> = differences.iter().map(|difference| difference.path.as_str()).collect();
    assert_eq!(paths, ["empty folder", "link", "nested/one", "new", "script"]);
    assert!(differences.iter().all(|difference| !difference.reported));
    assert!(differences[2].problem.contains("another content"), "{}", differences[2]);
}

#[tokio::test]
async fn the_record_of_a_backup_replays_from_its_start_and_from_every_cut() {
    let bench = Bench::new();
    fill(&bench.plan.source);
    let app = engine();
    let marker = bench.plan.begin(&bench.target, 4).unwrap();
    app.run(marker.workflow.clone(), backup(marker.job)).await.unwrap();
    let file = bench.folder.path().join("backup.history");
    fs::write(&file, app.history(&marker.workflow).unwrap().unwrap().to_bytes()).unwrap();
    // No source, no target, no worker: the record alone.
    drop(bench.target);
    fs::remove_dir_all(&bench.plan.source).unwrap();
    let replayed = register(Antiphon::test(), Setting::default()).replay_every_prefix(&file).unwrap();
    assert!(replayed.events > 20, "{}", replayed.events);
}

use crate::activities::Job;
use crate::{Fault, ObjectId, Target, path_text};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A backup that was asked for, with its folders checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What its runs are called by: `<name>-<snapshot>` is a workflow id.
    pub name: String,
    /// The folder to back up, absolute and without links.
    pub source: PathBuf,
    /// The target, likewise.
    pub target: PathBuf,
    /// The folder of the record, likewise.
    pub state: PathBuf,
}

/// What the target remembers of the backup of one name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Marker {
    /// The workflow id of the run that works on it, or did last.
    pub workflow: String,
    /// Its input; a second start must be the same as the first.
    pub job: Job,
    /// Whether somebody has been told how the run ended. If not, the next start tells it before anything new begins.
    pub told: bool,
}

impl Plan {
    /// Checks and finds the folders. Makes the target and the folder of the record, if they are not there.
    ///
    /// Errors: [`Fault::Refused`] or [`Fault::Target`], in one line that says which folder is wrong.
    pub fn new(source: &Path, target: &Path, state: Option<&Path>, name: Option<&str>) -> Result<Plan, Fault> {
        let source = existing_folder("the source", source)?;
        // Told apart before anything is made: a target inside a source that is its parent is fine, the reverse is not.
        Target::prepare(target)?;
        let target = existing_folder("the target", target)?;
        if source.starts_with(&target) {
            let (source, target) = (source.display(), target.display());
            return Err(Fault::Refused(format!(
                "the source {source} lies in the target {target}, which would grow while it is read: give another target"
            )));
        }
        let state = state.map_or_else(|| target.join(".antiphon"), Path::to_owned);
        fs::create_dir_all(&state).map_err(Fault::target(&state))?;
        let state = existing_folder("the folder of the record", &state)?;
        let name = match name {
            Some(name) => checked_name(name)?,
            None => derived_name(&source, &target),
        };
        Ok(Plan { name, source, target, state })
    }

    /// The unfinished run of this backup, or the last one.
    pub fn marker(&self, target: &Target) -> Result<Option<Marker>, Fault> {
        let path = target.marker(&self.name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::target(&path)(error)),
        };
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|error| Fault::damaged(&path, error))?;
        let job = &marker.job;
        if path_text::decode(&job.source)? != self.source {
            let (name, source) = (&self.name, &job.source);
            return Err(Fault::Refused(format!(
                "the name {name:?} is that of a backup of {source}: give another --name"
            )));
        }
        Ok(Some(marker))
    }

    /// Takes a snapshot number and notes the run that will make it. Durable on return, before the run is started: a
    /// crash in between leaves a note that the next start follows.
    pub fn begin(&self, target: &Target, parallel: u32) -> Result<Marker, Fault> {
        // Above the last one's also if its manifest was removed: the same number would name the same run, which has ended.
        let last = self.marker(target)?.map_or(0, |marker| marker.job.snapshot);
        let snapshot = target.reserve_snapshot(last)?;
        let excluded = [&self.target, &self.state].into_iter().filter(|folder| folder.starts_with(&self.source));
        let job = Job {
            source: path_text::encode(&self.source),
            target: path_text::encode(&self.target),
            excluded: excluded.map(|folder| path_text::encode(folder)).collect(),
            snapshot,
            parallel,
        };
        let marker = Marker { workflow: format!("{}-{snapshot}", self.name), job, told: false };
        self.note(target, &marker)?;
        Ok(marker)
    }

    /// Notes that somebody has been told how the run ended, and removes what a failed one left.
    pub fn told(&self, target: &Target, marker: &Marker) -> Result<(), Fault> {
        target.empty_work(marker.job.snapshot)?;
        self.note(target, &Marker { told: true, ..marker.clone() })
    }

    fn note(&self, target: &Target, marker: &Marker) -> Result<(), Fault> {
        let bytes = serde_json::to_vec(marker).map_err(|error| Fault::Refused(error.to_string()))?;
        target.write(&target.marker(&self.name), &bytes)
    }
}

fn existing_folder(what: &str, path: &Path) -> Result<PathBuf, Fault> {
    let refused = |problem: String| Fault::Refused(format!("{what} {} {problem}", path.display()));
    let found = path.canonicalize().map_err(|error| refused(format!("cannot be found: {error}")))?;
    if !found.is_dir() {
        return Err(refused("is not a folder".to_owned()));
    }
    Ok(found)
}

fn checked_name(name: &str) -> Result<String, Fault> {
    // It becomes a file name in the target and the beginning of a workflow id (at most 255 bytes, no controls).
    let usable = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(usable) {
        return Err(Fault::Refused(format!(
            "the name {name:?} is not usable: up to 200 bytes of letters, digits, - _ and ., not beginning with ."
        )));
    }
    Ok(name.to_owned())
}

/// A name that is the same for the same two folders, and tells a person which they were.
fn derived_name(source: &Path, target: &Path) -> String {
    let last = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let readable: String = last.chars().filter(|character| character.is_alphanumeric()).take(40).collect();
    let readable = if readable.is_empty() { "root".to_owned() } else { readable };
    let folders = [source.as_os_str().as_bytes(), target.as_os_str().as_bytes()].join(&0);
    // 32 bits keep the folders of one target apart; the source is compared anyway (see `marker`).
    format!("{readable}-{}", &ObjectId::of(&folders).to_string()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_folders_are_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        let plan =
            |source: &Path, target: &Path| Plan::new(source, target, None, None).map_err(|fault| fault.to_string());
        assert!(plan(&source, &target).unwrap_err().contains("cannot be found"));
        assert!(!target.exists());
        fs::create_dir(&source).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        assert!(plan(&folder.path().join("file"), &target).unwrap_err().ends_with("is not a folder"));
        assert!(plan(&source, &folder.path().join("file")).unwrap_err().contains("the target is not usable"));
        plan(&source, &target).unwrap();
        fs::create_dir(target.join("inside")).unwrap();
        assert!(plan(&target.join("inside"), &target).unwrap_err().contains("lies in the target"));
        assert!(plan(&target, &target).unwrap_err().contains("lies in the target"));
    }

    #[test]
    fn a_target_inside_the_source_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::new(folder.path(), &folder.path().join("backup"), None, Some("me")).unwrap();
        let marker = plan.begin(&Target::open(&plan.target).unwrap(), 4).unwrap();
        let inside = plan.target.to_str().unwrap().to_owned();
        assert_eq!(marker.job.excluded, [inside.clone(), inside + "/.antiphon"]);
        assert_eq!(marker.workflow, "me-1");
        assert_eq!(plan.marker(&Target::open(&plan.target).unwrap()).unwrap(), Some(marker));
    }

    #[test]
    fn a_name_of_another_source_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, target) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("t"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let first = Plan::new(&one, &target, None, Some("same")).unwrap();
        first.begin(&Target::open(&first.target).unwrap(), 1).unwrap();
        let second = Plan::new(&two, &target, None, Some("same")).unwrap();
        assert!(second.marker(&Target::open(&second.target).unwrap()).is_err());
        for bad in ["", ".x", "a/b", "a b", "a\n"] {
            assert!(Plan::new(&one, &target, None, Some(bad)).is_err(), "{bad:?}");
        }
        assert_ne!(derived_name(&one, &target), derived_name(&two, &target));
    }
}

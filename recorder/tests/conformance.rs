//! Every store has every property of the suite.

mod memory {
    use antiphon_recorder::conformance::Subject;
    use antiphon_recorder::memory::MemoryStore;
    use antiphon_recorder::{Error, Reader, Store};

    struct InMemory(MemoryStore);

    impl Subject for InMemory {
        fn open(&mut self) -> Result<Store, Error> {
            self.0.open()
        }

        fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
            self.0.snapshot()
        }
    }

    antiphon_recorder::conformance_suite!(InMemory(MemoryStore::default()));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use antiphon_recorder::conformance::Subject;
    use antiphon_recorder::sqlite::{self, Options};
    use antiphon_recorder::{Durability, Error, Reader, Store};
    use tempfile::TempDir;

    struct InFolder {
        folder: TempDir,
        options: Options,
    }

    impl InFolder {
        fn new(durability: Durability) -> InFolder {
            let folder = tempfile::tempdir().expect("a temporary folder");
            InFolder { folder, options: Options { durability, ..Options::default() } }
        }
    }

    impl Subject for InFolder {
        fn open(&mut self) -> Result<Store, Error> {
            sqlite::open(self.folder.path(), &self.options)
        }

        fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
            sqlite::snapshot(self.folder.path())
        }
    }

    impl Drop for InFolder {
        /// Whatever a property did to the store, it must be whole afterwards, unless that property damages it.
        fn drop(&mut self) {
            if std::thread::panicking() {
                return;
            }
            let report = sqlite::verify(self.folder.path()).expect("the store can be verified");
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            let damaged_on_purpose = problems.iter().all(|problem| problem.contains("does not begin with RunStarted"));
            assert!(damaged_on_purpose, "{problems:#?}");
        }
    }

    mod full {
        use super::*;
        antiphon_recorder::conformance_suite!(InFolder::new(Durability::Full));
    }

    mod process {
        use super::*;
        antiphon_recorder::conformance_suite!(InFolder::new(Durability::Process));
    }
}

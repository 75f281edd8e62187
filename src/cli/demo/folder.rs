//! The folder a demo writes to: one that was not there, or was empty.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;

const NAME: &str = "windrow-demo";
/// Demos that nobody has cleared away before it is time to.
const MANY: u32 = 1000;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder asked for, or a new one below the current.
    pub(super) fn create(wanted: Option<PathBuf>) -> Result<Self, Error> {
        match wanted {
            Some(path) => Self::take(path),
            None => Self::next_in(Path::new("")),
        }
    }

    fn take(path: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&path).map_err(|error| cannot_create(&path, &error))?;
        let mut found = std::fs::read_dir(&path).map_err(|error| cannot_create(&path, &error))?;
        if found.next().is_some() {
            let text = format!("{} is not empty; the demo takes a new or an empty folder", path.display());
            return Err(Error::Usage(text));
        }
        Ok(Self(path))
    }

    fn next_in(parent: &Path) -> Result<Self, Error> {
        for number in 1..MANY {
            let name = if number == 1 { NAME.to_owned() } else { format!("{NAME}-{number}") };
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot_create(&path, &error)),
            }
        }
        Err(Error::Usage(format!("there are {NAME} to {NAME}-{} already; delete some, or choose --out", MANY - 1)))
    }

    /// The sink, as a pipeline file names it.
    pub(super) fn sink(&self) -> String {
        self.0.join("rides_hourly").display().to_string()
    }

    /// Writes a file and gives its name.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<String, Error> {
        let path = self.0.join(name);
        std::fs::write(&path, text).map_err(|error| cannot_create(&path, &error))?;
        Ok(path.display().to_string())
    }

    /// The name of a file in it.
    pub(super) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

fn cannot_create(path: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!("cannot write to {}: {error}; choose a place with --out", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demo_gets_a_folder_of_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let first = Folder::next_in(parent.path()).unwrap();
        first.write("mine", "to keep").unwrap();
        let second = Folder::next_in(parent.path()).unwrap();
        assert_ne!(first.0, second.0);
        assert!(parent.path().join("windrow-demo-2").is_dir());
        assert_eq!(std::fs::read_to_string(first.file("mine")).unwrap(), "to keep");
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        assert!(Folder::create(Some(path.clone())).is_ok());
        assert!(Folder::create(Some(path.clone())).is_ok());
        std::fs::write(path.join("mine"), "to keep").unwrap();
        let error = Folder::create(Some(path.clone())).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(std::fs::read_to_string(path.join("mine")).unwrap(), "to keep");
    }
}

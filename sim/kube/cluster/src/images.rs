//! The image registry of a simulated cluster: a repository is bound to programs, and the tag is handed to them.
//!
//! `longhornio/longhorn-manager:v1.8.1` is the repository `longhornio/longhorn-manager` with the tag `v1.8.1`: one image entry gives the programs
//! of every release, so that a mixed-version cluster is two tags. What is not here cannot be pulled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use corral_core::Latency;
use host::process::{Program, Programs};

/// Makes a program for a tag.
type ProgramOfTag = Arc<dyn Fn(&str) -> Program + Send + Sync>;

/// One repository: what its images run and how long they take.
#[derive(Clone)]
pub struct Image {
    entry: String,
    programs: BTreeMap<String, ProgramOfTag>,
    pull: Latency,
    start: Latency,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}, {} programs)", self.entry, self.programs.len())
    }
}

impl Image {
    /// An image whose entry point is the program at this absolute path.
    pub fn new(entry: &str, program: impl Fn(&str) -> Program + Send + Sync + 'static) -> Image {
        Image {
            entry: entry.to_owned(),
            programs: BTreeMap::new(),
            pull: Latency::heavy(Duration::from_secs(1), Duration::from_secs(3)),
            start: Latency::heavy(Duration::from_millis(120), Duration::from_millis(80)),
        }
        .program(entry, program)
    }

    /// With one more program, for a container's command or for processes that run it.
    pub fn program(mut self, path: &str, program: impl Fn(&str) -> Program + Send + Sync + 'static) -> Image {
        self.programs.insert(path.to_owned(), Arc::new(program));
        self
    }

    /// With this time for a pull to a machine that does not have it.
    pub fn pull_latency(mut self, latency: Latency) -> Image {
        self.pull = latency;
        self
    }

    /// With this time between the decision to start a container and its process.
    pub fn start_latency(mut self, latency: Latency) -> Image {
        self.start = latency;
        self
    }
}

/// An image in one release.
#[derive(Clone)]
pub(crate) struct TaggedImage {
    image: Image,
    tag: String,
}

/// No such program in the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
     process: exec: {0:?}: executable file not found in $PATH"
)]
pub(crate) struct NoSuchProgram(pub String);

impl TaggedImage {
    /// The arguments of a container: its command, or else the entry point, and what follows.
    pub fn arguments(&self, command: &[String], arguments: &[String]) -> Vec<String> {
        if command.is_empty() {
            return std::iter::once(&self.image.entry).chain(arguments).cloned().collect();
        }
        command.iter().chain(arguments).cloned().collect()
    }

    /// The program that the first argument names: by its path, or by its name alone as a shell's search path would find it.
    pub fn resolve(&self, name: &str) -> Result<Program, NoSuchProgram> {
        let is_path = name.contains('/');
        let named = |path: &str| path == name || (!is_path && path.rsplit('/').next() == Some(name));
        let found = self.image.programs.iter().find(|(path, _)| named(path));
        found.map(|(_, program)| program(&self.tag)).ok_or_else(|| NoSuchProgram(name.to_owned()))
    }

    /// Everything that its processes can run.
    pub fn programs(&self) -> Programs {
        let made = self.image.programs.iter().map(|(path, program)| (path.clone(), program(&self.tag)));
        Programs { by_path: made.collect() }
    }

    pub fn pull_latency(&self) -> Latency {
        self.image.pull
    }

    pub fn start_latency(&self) -> Latency {
        self.image.start
    }
}

/// All repositories.
#[derive(Clone, Debug, Default)]
pub struct Images {
    by_repository: BTreeMap<String, Image>,
}

impl Images {
    /// An empty registry.
    pub fn new() -> Images {
        Images::default()
    }

    /// With one more repository.
    pub fn with(mut self, repository: &str, image: Image) -> Images {
        self.by_repository.insert(repository.to_owned(), image);
        self
    }

    pub(crate) fn find(&self, reference: &str) -> Option<TaggedImage> {
        let (repository, tag) = split_reference(reference);
        let image = self.by_repository.get(repository)?.clone();
        Some(TaggedImage { image, tag: tag.to_owned() })
    }
}

/// Repository and tag of an image reference. The registry's own host is not part of the name here.
fn split_reference(reference: &str) -> (&str, &str) {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let name_begins = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name_begins..].find(':') {
        Some(colon) => (&reference[..name_begins + colon], &reference[name_begins + colon + 1..]),
        None => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let exits = |_: &str| host::process::program(|| async { 0 });
        Images::new().with("longhornio/longhorn-manager", Image::new("/usr/local/sbin/longhorn-manager", exits))
    }

    #[test]
    fn references_split_into_repository_and_tag() {
        assert_eq!(split_reference("a/b:v1"), ("a/b", "v1"));
        assert_eq!(split_reference("docker.io/a/b"), ("a/b", "latest"));
        assert_eq!(split_reference("registry:5000/a/b:v1"), ("registry:5000/a/b", "v1"));
    }

    #[test]
    fn a_command_is_found_by_path_or_by_name() {
        let image = images().find("longhornio/longhorn-manager:v1.8.1").expect("registered");
        assert_eq!(image.arguments(&[], &["-d".into()]), ["/usr/local/sbin/longhorn-manager", "-d"]);
        assert_eq!(image.arguments(&["longhorn-manager".into()], &["-d".into()]), ["longhorn-manager", "-d"]);
        assert!(image.resolve("longhorn-manager").is_ok());
        assert!(image.resolve("/usr/local/sbin/longhorn-manager").is_ok());
        assert!(image.resolve("/bin/sh").is_err());
        assert!(images().find("longhornio/longhorn-ui:v1").is_none());
    }
}

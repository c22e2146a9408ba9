//! From files to a checked configuration: the main file, what it includes, and the checks over all
//! of them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use toml::de::DeTable;

use crate::{
    Config, Loaded, Problem,
    document::Document,
    draft::Draft,
    include,
    place::{Place, Placed, Report, Source},
    reader::Reader,
};

/// Reads the configuration file and what it includes.
///
/// # Errors
/// Everything that is wrong with it, by file and position.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let mut reading = Reading::default();
    let main = reading.open(path, None);
    for pattern in reading.read(&main, Includes::Followed) {
        reading.include(&pattern);
    }
    reading.finish(&main)
}

/// Reads a configuration from a text that `name` stands for in messages. Relative paths in it are
/// relative to the working directory; it cannot include.
///
/// # Errors
/// Everything that is wrong with it, by position.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Vec<Problem>> {
    let mut reading = Reading::default();
    let main = Source::new(0, name.into(), PathBuf::new(), text.into());
    reading.read(&main, Includes::Refused("a configuration without a file cannot include"));
    reading.finish(&main)
}

#[derive(Default)]
struct Reading {
    report: Report,
    draft: Draft,
    document: Document,
    files: Vec<PathBuf>,
    /// The same without links and dots.
    seen: HashSet<PathBuf>,
    /// A file is not in the draft: what seems to be missing may be there.
    incomplete: bool,
}

enum Includes {
    Followed,
    Refused(&'static str),
}

impl Reading {
    /// The text of a file, empty when it has none. A file that cannot be read is reported `at` the
    /// place that names it.
    fn open(&mut self, path: &Path, at: Option<&Place>) -> Rc<Source> {
        let dir = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let (order, name) = (self.files.len(), path.display().to_string());
        self.files.push(path.to_owned());
        self.seen.insert(canonical(path));
        let bytes = fs::read(path);
        // What follows a byte that is not UTF-8 is still read, for what else is wrong.
        let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let source = Source::new(order, name.clone(), dir, text);
        let start = Place::start_of(&source, "");
        match bytes.as_deref().map(std::str::from_utf8) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                self.report.error(Place { offset: error.valid_up_to(), ..start }, "not UTF-8");
            }
            Err(error) => {
                self.incomplete = true;
                let place = at.cloned().unwrap_or(start);
                self.report.error(place, format!("{name} cannot be read: {error}"));
            }
        }
        source
    }

    /// Adds a file to the draft; what it includes is returned.
    fn read(&mut self, source: &Rc<Source>, includes: Includes) -> Vec<Placed<String>> {
        let table = match DeTable::parse(&source.text) {
            Ok(table) => table,
            Err(error) => {
                let offset = error.span().map_or(source.text.len(), |span| span.start);
                let place = Place { offset, ..Place::start_of(source, "") };
                self.incomplete = true;
                self.report.error(place, error.message());
                return Vec::new();
            }
        };
        self.document.add(table.get_ref());
        let mut reader = Reader::root(&self.report, source, table.get_ref());
        let patterns = match includes {
            Includes::Followed => reader.take("include").unwrap_or_default(),
            Includes::Refused(reason) => {
                reader.refuse("include", reason);
                Vec::new()
            }
        };
        self.draft.read(&mut reader);
        reader.finish();
        patterns
    }

    fn include(&mut self, pattern: &Placed<String>) {
        match include::expand(&pattern.place.source.dir, &pattern.value) {
            Err(reason) => self.report.error(pattern.place.clone(), reason),
            Ok(paths) => paths.iter().for_each(|path| self.include_file(path, &pattern.place)),
        }
    }

    /// A file that several patterns match, also the main one, is read once.
    fn include_file(&mut self, path: &Path, at: &Place) {
        if !self.seen.contains(&canonical(path)) {
            let source = self.open(path, Some(at));
            self.read(&source, Includes::Refused("included files may not include"));
        }
    }

    fn finish(mut self, main: &Rc<Source>) -> Result<Loaded, Vec<Problem>> {
        self.draft.settle(&main.dir);
        let (mentions, tls) = (self.draft.mentions(), self.draft.tls_files());
        let otlp = self.draft.otlp();
        let mut config = match self.incomplete {
            true => Config::default(),
            false => self.draft.check(&self.report, |key| Place::start_of(main, key)),
        };
        config.files = self.files;
        let warnings = self.report.outcome()?;
        let document = self.document.into_json();
        Ok(Loaded { config, warnings, mentions, document, tls, otlp })
    }
}

/// One spelling for a file; its own when there is no such file.
fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

//! `error_pages`: files by status. Each is read once, however many routes show it, when everything
//! else of the configuration is.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidegate_model::{
    route::{ErrorPages, Page},
    upstream::StatusPattern,
};

use crate::{
    node::{FromToml, Node},
    place::{Placed, Report},
};

/// A page is in memory for as long as the configuration holds.
const MAX_PAGE: u64 = 1 << 20;

/// The files that a route names.
#[derive(Default)]
pub(crate) struct Pages(Vec<(StatusPattern, Placed<PathBuf>)>);

/// What was read of files so far, or why it could not be.
#[derive(Default)]
pub(crate) struct Files(HashMap<PathBuf, Result<Arc<Page>, String>>);

impl Pages {
    /// Reads the files; what is wrong with one is reported at the place that names it.
    pub(crate) fn load(&self, files: &mut Files, report: &Report) -> ErrorPages {
        let mut pages = Vec::new();
        for (status, path) in &self.0 {
            match files.page(&path.value) {
                Ok(page) => pages.push((*status, page)),
                Err(reason) => {
                    let message = format!("{} cannot be shown: {reason}", path.value.display());
                    report.error(path.place.clone(), message);
                }
            }
        }
        ErrorPages::new(pages)
    }
}

impl Files {
    fn page(&mut self, path: &Path) -> Result<Arc<Page>, String> {
        let known = self.0.entry(path.to_owned()).or_insert_with(|| read(path).map(Arc::new));
        known.clone()
    }
}

fn read(path: &Path) -> Result<Page, String> {
    let content_type = Page::content_type(path)
        .ok_or("its name does not end in .html, .json or .txt, which tells its type")?;
    // To open a pipe would wait for somebody to write into it.
    match fs::metadata(path) {
        Ok(file) if file.is_file() => {}
        Ok(_) => return Err("it is not a file".into()),
        Err(error) => return Err(error.to_string()),
    }
    let mut body = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_PAGE + 1).read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() as u64 > MAX_PAGE {
        return Err("it is larger than 1 MiB".into());
    }
    Ok(Page { content_type, body: body.into() })
}

impl FromToml for Pages {
    fn from_toml(node: &Node<'_>) -> Option<Self> {
        let read = |entry: Node<'_>| Some((status(&entry), Placed::from_toml(&entry)?));
        // All of them are read before one that failed takes the table with it.
        let read: Vec<_> = node.entries()?.map(read).collect();
        let pages =
            read.into_iter().map(|page| page.and_then(|(status, path)| Some((status?, path))));
        pages.collect::<Option<_>>().map(Self)
    }
}

/// The statuses of a key: of those that say that something is wrong.
fn status(entry: &Node<'_>) -> Option<StatusPattern> {
    let status = match StatusPattern::parse(entry.key) {
        Ok(status) => status,
        Err(reason) => return entry.fail(reason),
    };
    match status {
        StatusPattern::Class(4 | 5) | StatusPattern::Code(400..=599) => Some(status),
        _ => entry.fail("has to be one of 4xx and 5xx: other answers are none of Tidegate's own"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_file_of_a_known_type_and_not_too_large() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str, size: usize| {
            let path = folder.path().join(name);
            fs::write(&path, vec![b'x'; size]).expect("it is written");
            path
        };
        assert_eq!(read(&at("full.html", 1 << 20)).expect("it fits").body.len(), 1 << 20);
        assert!(read(&at("empty.json", 0)).is_ok());
        let refused = |path: &Path| read(path).expect_err("no page");
        assert!(refused(&at("large.html", (1 << 20) + 1)).contains("1 MiB"));
        assert!(refused(&at("page.png", 1)).contains(".html"));
        assert!(refused(&folder.path().join("none.txt")).contains("No such file"));
        fs::create_dir(folder.path().join("dir.txt")).expect("it is made");
        assert_eq!(refused(&folder.path().join("dir.txt")), "it is not a file");
    }

    #[test]
    fn a_file_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        fs::write(&path, "a").expect("it is written");
        let mut files = Files::default();
        let first = files.page(&path).expect("a page");
        assert!(Arc::ptr_eq(&first, &files.page(&path).expect("a page")));
    }
}

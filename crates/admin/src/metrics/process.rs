//! The process' own numbers under the names that every exporter gives them, from `/proc`. What the
//! system does not tell is left out.

use std::{fs, time::SystemTime};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::{page::Page, unix_time};

pub(super) fn families(page: &mut Page, started: SystemTime) {
    page.gauge("process_start_time_seconds", "When the process was started.", |samples| {
        samples.add(&[], unix_time(started));
    });
    gauge(page, "process_open_fds", "Open file descriptors.", open_descriptors());
    gauge(page, "process_max_fds", "The limit on file descriptors.", max_descriptors());
    let Some(stat) = Stat::read() else { return };
    page.counter("process_cpu_seconds_total", "User and system time spent.", |samples| {
        #[allow(clippy::cast_precision_loss)]
        samples.add(&[], stat.ticks as f64 / clock_ticks_per_second() as f64);
    });
    gauge(page, "process_virtual_memory_bytes", "Virtual memory.", Some(stat.virtual_bytes));
    gauge(page, "process_resident_memory_bytes", "Memory in RAM.", Some(stat.resident_bytes));
}

fn gauge(page: &mut Page, name: &str, help: &str, value: Option<u64>) {
    page.gauge(name, help, |samples| value.into_iter().for_each(|value| samples.count(&[], value)));
}

/// Counts them: slow with very many, so not for the control thread.
pub(crate) fn open_descriptors() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // The folder itself is open while it is read.
    u64::try_from(open).ok().map(|open| open.saturating_sub(1))
}

/// `None`: no limit.
pub(crate) fn max_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

struct Stat {
    ticks: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    /// `/proc/self/stat`, proc(5). The second field is a name that may hold anything, so fields are
    /// counted from the parenthesis behind it: the first there is the third of all.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)? + field(15)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.saturating_mul(page_size() as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let stat = Stat::read().expect("Linux tells");
        assert!(stat.resident_bytes > 0 && stat.virtual_bytes > stat.resident_bytes);
        assert!(open_descriptors().expect("Linux tells") >= 3);
    }
}

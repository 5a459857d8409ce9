//! Process metrics, under the names that every Prometheus client uses.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

/// Resource usage of this process; `None` where the kernel does not report it.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        Self {
            cpu_seconds: getrusage(UsageWho::RUSAGE_SELF)
                .ok()
                .map(|usage| seconds(usage.user_time()) + seconds(usage.system_time())),
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| resident(&status)),
            // One descriptor belongs to this listing.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        }
    }
}

/// Returns VmRSS of proc_pid_status(5) in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_reports_all_process_metrics() {
        let file = fs::File::open("/proc/self/status").expect("a file");
        let Process { cpu_seconds, resident_bytes, open_fds, max_fds } = Process::now();
        assert!(cpu_seconds.is_some_and(|s| s > 0.0));
        assert!(resident_bytes.is_some_and(|b| b > 1024 * 1024), "{resident_bytes:?}");
        assert!(
            open_fds.is_some_and(|n| n >= 3) && open_fds < max_fds,
            "{open_fds:?} of {max_fds:?}"
        );
        drop(file);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            resident("Name:\trosterd\nVmHWM:\t   9000 kB\nVmRSS:\t   2048 kB\n"),
            Some(2 * 1024 * 1024)
        );
        assert_eq!(resident("Name:\trosterd\n"), None);
    }
}

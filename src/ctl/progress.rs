//! Progress bars of runs.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::Terminal;
use super::link::{Daemon, Failure};
use crate::control::api::{Phase, Progress};
use crate::control::client::Route;

/// The poll interval of the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for `work` and shows the progress of the runs of `directories`.
pub(super) async fn with_progress<T>(
    work: impl Future<Output = Result<T, Failure>>,
    directories: &[String],
    daemon: &Daemon,
    terminal: &mut Terminal,
) -> Result<T, Failure> {
    if directories.is_empty() || !terminal.draws {
        return work.await;
    }
    let drawn =
        Drawn { buffer: Arc::default(), width: u16::try_from(terminal.width).unwrap_or(80) };
    let bars = Bars::new(directories, &drawn);
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            () = async { ticks.tick().await; bars.ask(daemon).await } => drawn.show(terminal),
        }
    };
    bars.clear();
    drawn.show(terminal);
    result
}

struct Bars {
    all: MultiProgress,
    each: Vec<(String, ProgressBar)>,
}

impl Bars {
    fn new(directories: &[String], drawn: &Drawn) -> Self {
        let all =
            MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(drawn.clone())));
        let each = directories
            .iter()
            .map(|name| {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_prefix(name.clone());
                (name.clone(), bar)
            })
            .collect();
        Self { all, each }
    }

    /// Polls the progress of each run. An error means that no run is in progress, and is ignored.
    async fn ask(&self, daemon: &Daemon) {
        for (name, bar) in &self.each {
            match daemon.get::<Progress>(&Route::to(["directories", name, "progress"])).await {
                Ok(progress) => show(bar, &progress.value),
                Err(_) => bar.tick(),
            }
        }
    }

    fn clear(&self) {
        for (_, bar) in &self.each {
            bar.finish_and_clear();
        }
        let _ = self.all.clear();
    }
}

fn show(bar: &ProgressBar, Progress { entries, expected, phase }: &Progress) {
    // `expected` is the size of the last read; the directory may have grown since.
    let known = *expected > 0 && *phase == Phase::Reading;
    let template = if known {
        "{prefix}  {msg} [{bar:30}] {human_pos} of about {human_len}"
    } else {
        "{prefix}  {spinner} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    if known {
        bar.set_length((*expected).max(*entries));
    }
    bar.set_message(phase.as_str());
    bar.set_position(*entries);
    bar.tick();
}

/// Buffers the output of indicatif, because only the terminal may write.
#[derive(Debug, Clone)]
struct Drawn {
    buffer: Arc<Mutex<String>>,
    width: u16,
}

impl Drawn {
    fn push(&self, text: &str) {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }

    fn show(&self, terminal: &mut Terminal) {
        let text = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        // A failure to draw must not stop the run.
        let _ = terminal.err.write_all(text.as_bytes()).and_then(|()| terminal.err.flush());
    }

    fn move_by(&self, n: usize, direction: char) {
        if n > 0 {
            self.push(&format!("\u{1b}[{n}{direction}"));
        }
    }
}

impl TermLike for Drawn {
    fn width(&self) -> u16 {
        self.width
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_by(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text);
        self.push("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\u{1b}[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

//! Everything that is traced, and what must not be in it.

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::format::FmtSpan;

/// Everything that is traced, of every level, as text.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Takes what this thread traces until the guard is dropped.
    pub(crate) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A secret in the forms that a `Debug` could give it.
pub(crate) fn forms(secret: &[u8]) -> Vec<String> {
    assert!(secret.iter().any(|byte| *byte != 0));
    let hex = secret.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let escaped = format!("{:?}", secret.escape_ascii().to_string());
    let list = format!("{secret:?}");
    vec![
        hex,
        list.trim_matches(['[', ']']).to_owned(),
        escaped.trim_matches('"').to_owned(),
        secret.escape_ascii().to_string(),
    ]
}

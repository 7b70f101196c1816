//! Looking through the log for learners that missed more than is in memory: one at a time, each for as long as its
//! learner is there; and the pieces of it that are sent to them.
//!
//! Invariants: every look that was asked for is answered once, also where it cannot begin or panics, or else its link has
//! ended; at most one task or thread looks.

#![allow(
    clippy::disallowed_methods,
    reason = "the driver looks at the clock to say now and then that it goes on"
)]

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use zk_proto::Zxid;

use super::mailbox::Mailbox;
use crate::{
    error::Fatal,
    peer::{Input, QuorumInput},
    storage::HistoryPieces,
    zab::{LeaderInput, LinkId, LoggedSpan, Transaction},
};

/// About how many bytes of the log are read at once for a learner. One piece is sent while the next one is read, and
/// another one waits.
pub(super) const PIECE: usize = 1 << 20;

/// What is read of the log for a learner: pieces, then that it was all; or that it cannot be read.
pub(super) type Piece = Result<Option<Vec<Transaction>>, Fatal>;

/// The next of them.
pub(super) fn next_piece(history: &mut HistoryPieces) -> Piece {
    let transaction = |(zxid, entry)| Transaction { zxid, entry };
    let piece = history.next_piece(PIECE)?;
    Ok(piece.map(|records| records.into_iter().map(transaction).collect()))
}

/// How often those who wait for the log are said to make progress while it is read, for themselves or for others.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What a learner needs of the log.
pub(super) struct Wanted {
    pub(super) link: LinkId,
    pub(super) from: Zxid,
    pub(super) limit: Option<u64>,
}

/// Who waits for the log.
pub(super) struct LogReads {
    state: Arc<Mutex<State>>,
    mailbox: Arc<Mailbox<Input>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Wanted>,
    /// For whom the log is being read; nobody, once that link has ended.
    reading: Option<LinkId>,
    has_reader: bool,
}

impl LogReads {
    pub(super) fn new(mailbox: &Arc<Mailbox<Input>>) -> Self {
        Self {
            state: Arc::default(),
            mailbox: mailbox.clone(),
        }
    }

    /// Queues a read; the reader that comes back, if nobody reads, is to be run.
    #[must_use]
    pub(super) fn want(&self, wanted: Wanted) -> Option<Reader> {
        let mut state = self.state.lock();
        state.waiting.push_back(wanted);
        if std::mem::replace(&mut state.has_reader, true) {
            return None;
        }
        Some(Reader {
            state: self.state.clone(),
            mailbox: self.mailbox.clone(),
            is_done: false,
        })
    }

    /// The link has ended: nobody waits for its log any more.
    pub(super) fn forget(&self, link: LinkId) {
        let mut state = self.state.lock();
        state.waiting.retain(|wanted| wanted.link != link);
        state.reading = state.reading.filter(|reading| *reading != link);
    }

    /// Nobody waits any more.
    pub(super) fn forget_all(&self) {
        let mut state = self.state.lock();
        state.waiting.clear();
        state.reading = None;
    }
}

/// Reads for whoever waits, until nobody does.
pub(super) struct Reader {
    state: Arc<Mutex<State>>,
    mailbox: Arc<Mailbox<Input>>,
    is_done: bool,
}

impl Reader {
    /// `look` is to ask at each record whether to go on.
    pub(super) fn run(
        mut self,
        mut look: impl FnMut(&Wanted, &mut dyn FnMut() -> bool) -> Option<LoggedSpan>,
    ) {
        while let Some(wanted) = self.next() {
            let link = wanted.link;
            let mut told = Instant::now();
            let span = look(&wanted, &mut || self.goes_on(link, &mut told));
            if self.state.lock().reading.take() == Some(link) {
                self.answer(link, span);
            }
        }
    }

    fn next(&mut self) -> Option<Wanted> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        state.reading = next.as_ref().map(|wanted| wanted.link);
        state.has_reader = next.is_some();
        self.is_done = next.is_none();
        next
    }

    fn goes_on(&self, link: LinkId, told: &mut Instant) -> bool {
        let state = self.state.lock();
        if told.elapsed() >= PROGRESS_EVERY {
            *told = Instant::now();
            let waiting = state.waiting.iter().map(|wanted| wanted.link);
            for link in waiting.chain(state.reading) {
                let input = QuorumInput::Leader(LeaderInput::Progress(link));
                self.mailbox.push(Input::Quorum(input));
            }
        }
        state.reading == Some(link)
    }

    fn answer(&self, link: LinkId, span: Option<LoggedSpan>) {
        let input = QuorumInput::LogRead { link, span };
        self.mailbox.push(Input::Quorum(input));
    }
}

impl Drop for Reader {
    /// It could not begin, or has panicked: whoever waits gets a snapshot, which needs no thread.
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut state = self.state.lock();
        state.has_reader = false;
        let reading = state.reading.take();
        let waiting = state.waiting.drain(..).map(|wanted| wanted.link);
        for link in reading.into_iter().chain(waiting) {
            self.answer(link, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Option<LoggedSpan> = Some(LoggedSpan {
        first: Zxid(1),
        last: Zxid(9),
    });

    struct World {
        reads: LogReads,
        mailbox: Arc<Mailbox<Input>>,
    }

    impl World {
        fn new() -> Self {
            let mailbox = Arc::default();
            Self {
                reads: LogReads::new(&mailbox),
                mailbox,
            }
        }

        fn want(&self, link: u64) -> Option<Reader> {
            self.reads.want(Wanted {
                link: LinkId(link),
                from: Zxid::ZERO,
                limit: None,
            })
        }

        /// Which links were answered, and whether the log is of use.
        async fn answers(&self) -> Vec<(u64, bool)> {
            let mut told = Vec::new();
            self.mailbox.take(&mut told).await;
            let answer = |input: &Input| match input {
                Input::Quorum(QuorumInput::LogRead { link, span }) => (link.0, span.is_some()),
                other => panic!("{other:?}"),
            };
            told.iter().map(answer).collect()
        }
    }

    #[tokio::test]
    async fn one_reads_for_all_and_for_nobody_who_has_gone() {
        let world = World::new();
        let reader = world.want(1).unwrap();
        for link in 2..=50 {
            assert!(world.want(link).is_none(), "no second reader");
            // It hangs up, and comes again.
            world.reads.forget(LinkId(link));
        }
        assert!(world.want(51).is_none() && world.want(52).is_none());
        let mut read = Vec::new();
        reader.run(|wanted, goes_on| {
            read.push(wanted.link.0);
            assert!(goes_on());
            if wanted.link == LinkId(51) {
                world.reads.forget(LinkId(51));
                assert!(!goes_on(), "the link has ended");
            }
            SPAN
        });
        assert_eq!(read, [1, 51, 52]);
        assert_eq!(world.answers().await, [(1, true), (52, true)]);
        assert!(world.want(53).is_some(), "the next one needs a reader");
    }

    #[tokio::test]
    async fn a_read_that_cannot_begin_or_panics_is_answered_all_the_same() {
        let world = World::new();
        let never_begun = world.want(1).unwrap();
        assert!(world.want(2).is_none());
        drop(move || never_begun.run(|_, _| SPAN));
        assert_eq!(world.answers().await, [(1, false), (2, false)]);
        let panics = world.want(3).unwrap();
        assert!(world.want(4).is_none());
        let thread = std::thread::spawn(move || panics.run(|_, _| panic!("a bug")));
        assert!(thread.join().is_err());
        assert_eq!(world.answers().await, [(3, false), (4, false)]);
        world.want(5).unwrap().run(|_, _| SPAN);
        assert_eq!(world.answers().await, [(5, true)]);
    }

    #[tokio::test]
    async fn all_who_wait_make_progress_while_the_log_is_read() {
        let world = World::new();
        let reader = world.want(1).unwrap();
        assert!(world.want(2).is_none());
        let mut long_ago = Instant::now().checked_sub(PROGRESS_EVERY).unwrap();
        let mut reader = reader;
        assert_eq!(reader.next().map(|wanted| wanted.link.0), Some(1));
        assert!(reader.goes_on(LinkId(1), &mut long_ago));
        assert!(
            reader.goes_on(LinkId(1), &mut long_ago),
            "and not each time"
        );
        let mut told = Vec::new();
        world.mailbox.take(&mut told).await;
        let progress = |input: &Input| match input {
            Input::Quorum(QuorumInput::Leader(LeaderInput::Progress(link))) => link.0,
            other => panic!("{other:?}"),
        };
        let links: Vec<_> = told.iter().map(progress).collect();
        assert_eq!(links, [2, 1]);
    }
}

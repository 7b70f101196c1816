//! What tells of things to come, waited for by futures that are dropped at any point.
//!
//! Everything is listened to twice: what the futures that were dropped brought together must be what the other listener,
//! which nobody disturbed, has heard.

use std::time::Duration;

use fastrand::Rng;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;
use zk_client::{
    Client, Evidence, EvidenceLoss, Result, Session, SessionEnd, SessionState, States, Watch,
    WatchChange, WatchEvent,
};

use crate::cancellation::is_legal;

/// How long what must be there by now may take; nothing but other tasks' turns.
const AT_ONCE: Duration = Duration::from_millis(10);

pub(crate) struct Listeners {
    client: Client,
    states: StatesTwice,
    stream: Option<StreamTwice>,
    change: Option<[WatchChange; 2]>,
    session: Session,
    evidence: Option<Evidence>,
    /// How many events, changes, ends of sessions and losses of evidence were told to futures that were not dropped in time.
    told: [usize; 4],
}

pub(crate) struct StatesTwice {
    disturbed: States,
    heard: Vec<SessionState>,
    calm: States,
}

struct StreamTwice {
    disturbed: Watch,
    heard: Vec<WatchEvent>,
    /// Younger: it may have missed the other one's first events, and no others.
    calm: Watch,
}

impl Listeners {
    pub(crate) fn new(client: &Client) -> Self {
        let states = StatesTwice {
            disturbed: client.states(),
            heard: Vec::new(),
            calm: client.states(),
        };
        Self {
            client: client.clone(),
            states,
            stream: None,
            change: None,
            session: client.session(),
            evidence: None,
            told: [0; 4],
        }
    }

    /// Waits for something by a future that is dropped after so many polls.
    pub(crate) async fn drop_somewhere(&mut self, polls: u32, rng: &mut Rng) {
        match rng.u32(0..5) {
            0 => self.states.drop_somewhere(polls).await,
            1 => self.drop_event(polls).await,
            2 => self.drop_change(polls).await,
            3 => self.drop_end(polls).await,
            _ => self.drop_loss(polls).await,
        }
    }

    async fn drop_event(&mut self, polls: u32) {
        let Some(stream) = &mut self.stream else {
            self.stream = legal(StreamTwice::new(&self.client.session()).await);
            return;
        };
        match a_while(stream.disturbed.next(), polls).await {
            None => {}
            Some(Some(event)) => {
                stream.heard.push(event);
                self.told[0] += 1;
            }
            Some(None) => {
                stream.told_everything();
                self.stream = None;
            }
        }
    }

    async fn drop_change(&mut self, polls: u32) {
        let Some([disturbed, calm]) = &mut self.change else {
            self.change = legal(two_changes(&self.client.session()).await);
            return;
        };
        let mut told = a_while(&mut *disturbed, polls).await;
        if told.is_none() && calm.now_or_never().is_some() {
            // Older than the other one, which is over.
            told = Some(disturbed.now_or_never().expect("a change is not lost"));
        }
        if let Some(event) = told {
            let legal = matches!(event, WatchEvent::DataChanged(_) | WatchEvent::SessionEnded);
            assert!(legal, "{event:?}");
            self.change = None;
            self.told[1] += 1;
        }
    }

    async fn drop_end(&mut self, polls: u32) {
        let mut told = a_while(self.session.ended(), polls).await;
        if told.is_none() && !self.session.is_current() {
            let ended = timeout(AT_ONCE, self.session.ended()).await;
            told = Some(ended.expect("an end is not lost"));
        }
        if let Some(reason) = told {
            assert_eq!(reason, SessionEnd::Expired);
            assert!(!self.session.is_current());
            self.session = self.client.session();
            self.told[2] += 1;
        }
    }

    async fn drop_loss(&mut self, polls: u32) {
        let Some(evidence) = &self.evidence else {
            let session = self.client.session();
            self.evidence = legal(session.evidence().await);
            return;
        };
        let mut told = a_while(evidence.lost(), polls).await;
        if told.is_none() && evidence.time_left().is_none() {
            let lost = timeout(AT_ONCE, evidence.lost()).await;
            told = Some(lost.expect("a loss is not lost"));
        }
        if let Some(reason) = told {
            let legal = [EvidenceLoss::SessionEnded, EvidenceLoss::NoEvidence];
            assert!(legal.contains(&reason));
            assert_eq!(evidence.time_left(), None, "lost for good");
            self.evidence = None;
            self.told[3] += 1;
        }
    }

    /// Listens to nothing any more but the states.
    pub(crate) fn rest(mut self) -> StatesTwice {
        if let Some(stream) = &mut self.stream {
            while let Some(Some(event)) = StreamExt::next(&mut stream.disturbed).now_or_never() {
                stream.heard.push(event);
            }
            stream.told_everything();
        }
        let [events, changes, ends, losses] = self.told;
        assert!(
            events > 500 && changes > 500 && ends > 50 && losses > 50,
            "{:?}",
            self.told
        );
        self.states
    }
}

impl StatesTwice {
    async fn drop_somewhere(&mut self, polls: u32) {
        if let Some(state) = a_while(self.disturbed.next(), polls).await {
            self.heard.push(state.expect("the client is open"));
        }
    }

    /// After the client was closed.
    pub(crate) fn told_everything(mut self) {
        assert!(self.heard.len() > 100, "{}", self.heard.len());
        let rest = |states: &mut States| {
            let mut rest = Vec::new();
            let mut next = || StreamExt::next(states).now_or_never();
            while let Some(state) = next().expect("the client is closed") {
                rest.push(state);
            }
            rest
        };
        self.heard.extend(rest(&mut self.disturbed));
        assert_eq!(self.heard, rest(&mut self.calm));
    }
}

impl StreamTwice {
    /// Both in one session.
    async fn new(session: &Session) -> Result<Self> {
        Ok(Self {
            disturbed: session.watch("/a").await?,
            heard: Vec::new(),
            calm: session.watch("/a").await?,
        })
    }

    fn told_everything(&mut self) {
        let mut all = Vec::new();
        while let Some(Some(event)) = StreamExt::next(&mut self.calm).now_or_never() {
            all.push(event);
        }
        let (heard, all) = (&self.heard, &all);
        assert!(heard.ends_with(all), "{} {}", heard.len(), all.len());
        // What comes before is what happened while the other one was being added.
        assert!(heard.len() <= all.len() + 100);
    }
}

async fn two_changes(session: &Session) -> Result<[WatchChange; 2]> {
    let (_, older) = session.get("/a").watch().await?;
    let (_, younger) = session.get("/a").watch().await?;
    Ok([older, younger])
}

fn legal<T>(result: Result<T>) -> Option<T> {
    if let Err(error) = &result {
        assert!(is_legal(error.kind()), "{error}");
    }
    result.ok()
}

/// Polls a future so many times, or whenever it is woken within two milliseconds, and drops it.
async fn a_while<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    if polls == u32::MAX {
        return timeout(Duration::from_millis(2), future).await.ok();
    }
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let Some(output) = future.as_mut().now_or_never() {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

//! Providers of every kind, and whether they choose as they promise among what there is.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::prelude::*;

use super::{
    BASE, PATIENCE, PROCESSES, SERVICE,
    book::{Said, Shared},
    until,
};
use crate::{
    scenario::{FAULTS, Process, Violations, leaves_nothing},
    world::{T, now},
};

/// For so long a provider that does not know itself stale may offer an instance that has unregistered: its server follows
/// a leader that is gone for two session timeouts (`syncLimit`), and within another one a client notices that its server is.
const LAG: Duration = T.saturating_mul(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    RoundRobin,
    Random,
    Sticky,
}

pub(super) const STRATEGIES: [Strategy; 3] =
    [Strategy::RoundRobin, Strategy::Random, Strategy::Sticky];

/// A provider, and what it has offered.
struct Watcher {
    name: String,
    strategy: Strategy,
    provider: ServiceProvider<Said>,
    /// The newest that was seen of each instance: a client sees nothing older later, whatever became of its session.
    newest: BTreeMap<String, Said>,
    /// Whom a sticky one stays with.
    current: Option<String>,
    book: Shared,
    violations: Violations,
}

async fn start(client: &Client, strategy: Strategy) -> zk_recipes::Result<ServiceProvider<Said>> {
    let provider = client.discovery(BASE).provider(SERVICE);
    let provider = match strategy {
        Strategy::RoundRobin => provider.round_robin(),
        Strategy::Random => provider.random(),
        Strategy::Sticky => provider.sticky(),
    };
    provider.start().await
}

pub(super) async fn choose(
    process: Process,
    strategy: Strategy,
    book: Shared,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    let mut watcher = Watcher {
        name: process.name,
        strategy,
        provider: start(&client, strategy).await?,
        newest: BTreeMap::new(),
        current: None,
        book,
        violations,
    };
    while now() < FAULTS {
        let moment = (T / 4).mul_f64(rng.f64().powi(2));
        match rng.u8(..20) {
            0 => {
                // Cancelled at any moment, and then another one.
                let started = timeout(moment, start(&client, strategy)).await;
                let started = started.ok().transpose()?;
                watcher.provider = match started {
                    Some(provider) => provider,
                    None => start(&client, strategy).await?,
                };
                watcher.current = None;
            }
            1 => {
                let waited = timeout(moment, watcher.provider.wait()).await;
                if let Some(instance) = waited.ok().transpose()? {
                    watcher.current = Some(instance.id.clone());
                }
            }
            _ => sleep(moment).await,
        }
        watcher.look();
    }
    until(|| watcher.book.lock().rests == PROCESSES).await?;
    watcher.agrees(PATIENCE).await?;
    watcher.chooses_from_all();
    // What is read without a provider is the same.
    let services = client.discovery(BASE);
    let there = services.instances(SERVICE).await?;
    let there = there.iter().filter_map(entry).collect::<BTreeMap<_, _>>();
    if there != watcher.book.lock().live || services.names().await? != [SERVICE] {
        watcher.note(format!("{there:?} is there"));
    }
    sleep(T * 3).await;
    watcher.agrees(Duration::ZERO).await?;
    watcher.book.lock().agree += 1;

    until(|| watcher.book.lock().left == PROCESSES).await?;
    watcher.book.lock().live.clear();
    watcher.agrees(PATIENCE).await?;
    leaves_nothing(&client).await
}

fn entry(instance: &ServiceInstance<Said>) -> Option<(String, Said)> {
    Some((instance.id.clone(), instance.payload?))
}

impl Watcher {
    fn note(&self, what: String) {
        let Self { name, strategy, .. } = self;
        self.violations
            .note(format!("{name} ({strategy:?}): {what}"));
    }

    /// Looks at what is offered now, and chooses as often as there are instances.
    fn look(&mut self) -> BTreeMap<String, Said> {
        let stale = self.provider.is_stale();
        let listed = self.provider.instances();
        for instance in &listed {
            match instance.payload {
                Some(said) => self.judge(&instance.id, said, stale),
                None => self.note(format!("{instance:?} says nothing")),
            }
        }
        let usable: Vec<_> = listed
            .iter()
            .filter(|instance| instance.payload.is_some_and(Said::enabled))
            .map(|instance| instance.id.clone())
            .collect();
        self.choose(&usable);
        listed
            .iter()
            .filter_map(|instance| entry(instance))
            .collect()
    }

    /// An instance is offered.
    fn judge(&mut self, id: &str, said: Said, stale: bool) {
        let newest = self.newest.insert(id.to_owned(), said);
        if newest.is_some_and(|newest| said < newest) {
            self.note(format!("{id} is {said:?} after {newest:?}"));
        }
        let mut book = self.book.lock();
        book.tally.offers += 1;
        let entry = book.entries.get(said.number);
        let known = entry.is_some_and(|entry| entry.id == id && said.version <= entry.version);
        let late = entry.and_then(|entry| entry.gone).map(|gone| now() - gone);
        match late {
            Some(_) if stale => book.tally.stale += 1,
            Some(late) => {
                book.tally.late += 1;
                book.tally.latest = book.tally.latest.max(late);
            }
            None => {}
        }
        drop(book);
        if !known {
            self.note(format!("{id} never was {said:?}"));
        }
        if !stale && late.is_some_and(|late| late > LAG) {
            self.note(format!("{id} {said:?} is offered {late:?} after it left"));
        }
    }

    fn choose(&mut self, usable: &[String]) {
        let pick = || self.provider.pick().map(|instance| instance.id.clone());
        let mut picks: Vec<_> = usable.iter().map_while(|_| pick()).collect();
        let as_promised = match (self.strategy, usable) {
            (_, []) => pick().is_none(),
            (Strategy::RoundRobin, _) => {
                picks.sort_unstable();
                picks == usable
            }
            (Strategy::Random, _) => {
                picks.len() == usable.len() && picks.iter().all(|pick| usable.contains(pick))
            }
            (Strategy::Sticky, _) => {
                let stays = self.current.as_ref().filter(|id| usable.contains(id));
                let first = stays.or_else(|| picks.first());
                picks.len() == usable.len() && picks.iter().all(|pick| Some(pick) == first)
            }
        };
        if !as_promised {
            let current = &self.current;
            self.note(format!("{picks:?} of {usable:?}, after {current:?}"));
        }
        self.current = picks.pop();
    }

    /// Waits until exactly the instances that are registered are offered.
    async fn agrees(&mut self, patience: Duration) -> turmoil::Result {
        let start = now();
        loop {
            let (offered, stale) = (self.look(), self.provider.is_stale());
            let live = self.book.lock().live.clone();
            if offered == live && !stale {
                return Ok(());
            }
            if now() >= start + patience {
                let name = &self.name;
                return Err(
                    format!("{name}: {offered:?} (stale: {stale}), and not {live:?}").into(),
                );
            }
            sleep(T / 10).await;
        }
    }

    /// At rest, everybody who wants to be chosen is, but by those who stay with one.
    fn chooses_from_all(&self) {
        let live = self.book.lock().live.clone();
        let usable = live.iter().filter(|(_, said)| said.enabled());
        let usable: Vec<_> = usable.map(|(id, _)| id.clone()).collect();
        let picks = (0..400).filter_map(|_| self.provider.pick());
        let mut picks: Vec<_> = picks.map(|instance| instance.id.clone()).collect();
        picks.sort_unstable();
        picks.dedup();
        let as_promised = match self.strategy {
            Strategy::Sticky => picks.len() == usable.len().min(1),
            _ => picks == usable,
        };
        if !as_promised {
            self.note(format!("{picks:?} of {live:?}"));
        }
    }
}

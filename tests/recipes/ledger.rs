//! Transactions under a guard, and whether what was told of each is what became of it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::time::sleep;
use zk_client::{Client, ErrorKind, Multi, Outcome, Zxid};

use crate::world::T;

const DIRECTORY: &str = "/ledger";

/// What was told of every transaction that was begun.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    told: Mutex<BTreeMap<String, Told>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing, or that nobody knows.
    Unknown,
    Applied,
    NotApplied,
}

impl Ledger {
    /// Makes the directory that the entries go to, however long that takes.
    pub(crate) async fn prepare(client: &Client) {
        loop {
            match client.create(DIRECTORY, "").await {
                Err(error) if error.kind() != ErrorKind::NodeExists => sleep(T / 10).await,
                _ => return,
            }
        }
    }

    /// A transaction that writes an entry with this token, and what it is called.
    pub(crate) fn begin(&self, client: &Client, who: &str, token: Zxid) -> (String, Multi) {
        let mut told = self.told.lock();
        let name = format!("{who}-{}", told.len());
        told.insert(name.clone(), Told::Unknown);
        let entry = format!("{:020} {name}", token.0);
        let multi = client.multi().create(&format!("{DIRECTORY}/e-"), entry);
        (name, multi.sequential().any())
    }

    pub(crate) fn ended<R>(&self, name: String, result: &zk_recipes::Result<R>) {
        let told = match result {
            Ok(_) => Told::Applied,
            // Nothing was carried out, it says.
            Err(error) if error.is_lost() => Told::NotApplied,
            Err(zk_recipes::Error::Client(error)) if error.outcome() == Outcome::NotApplied => {
                Told::NotApplied
            }
            Err(_) => Told::Unknown,
        };
        self.told.lock().insert(name, told);
    }

    /// How many were told to have been applied.
    pub(crate) fn applied(&self) -> usize {
        let told = self.told.lock();
        told.values().filter(|told| **told == Told::Applied).count()
    }

    /// Compares what was told with what is there. Tokens grow with the entries: no transaction of a holder of the past
    /// comes after one of a newer holder. (Somebody may still be at it; that is judged as far as it goes.)
    pub(crate) async fn judge(&self, client: &Client) -> Result<(), String> {
        let error = |error: zk_client::Error| error.to_string();
        let mut missing = self.told.lock().clone();
        missing.retain(|_, told| *told == Told::Applied);
        // What was told to anybody is there from here on.
        client.sync(DIRECTORY).await.map_err(error)?;
        let mut names = client.children(DIRECTORY).await.map_err(error)?;
        names.sort_unstable();
        let (mut newest, mut seen) = (String::new(), BTreeSet::new());
        for name in names {
            let path = format!("{DIRECTORY}/{name}");
            let data = client.get(&path).await.map_err(error)?.data;
            let entry = String::from_utf8_lossy(&data).into_owned();
            let (token, who) = entry.split_once(' ').unwrap_or_default();
            if *token < *newest {
                return Err(format!("{entry} went through after {newest}"));
            }
            newest = token.to_owned();
            missing.remove(who);
            let told = self.told.lock().get(who).copied();
            if !seen.insert(who.to_owned()) || !matches!(told, Some(Told::Applied | Told::Unknown))
            {
                return Err(format!("{entry} is there, and was told to be {told:?}"));
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("told to have been applied: {missing:?}")),
        }
    }
}

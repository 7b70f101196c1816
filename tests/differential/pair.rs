//! The two servers in step.

use std::{collections::BTreeSet, net::SocketAddr};

use zk_proto::{OpCode, Zxid};

use crate::{
    neutral::{Heard, sort_closing_events},
    report::Difference,
    script::{Script, Step},
    side::Side,
    tally::Tally,
};

/// Two servers that have seen the same, as far as they have told.
#[derive(Debug)]
pub(crate) struct Pair {
    left: Side,
    right: Side,
    closings: BTreeSet<Zxid>,
}

impl Pair {
    /// Two fresh servers; zxids are compared as they are.
    pub(crate) fn new(left: SocketAddr, right: SocketAddr) -> Self {
        Self {
            left: Side::new(left),
            right: Side::new(right),
            closings: BTreeSet::new(),
        }
    }

    /// Runs the script of this seed until it has sent so many operations.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) async fn run(mut self, seed: u64, ops: usize) -> Result<Tally, Box<Difference>> {
        let mut script = Script::new(seed);
        let mut tally = Tally::default();
        let mut done: Vec<Step> = Vec::new();
        while tally.operations() < ops {
            let step = script.next();
            let (left, right) = self.carry_out(&step).await;
            tally.count(&step, &left);
            let refused = step.must_be_admitted() && left.first() == Some(&Heard::Closed);
            if left != right || refused || left.iter().any(complains) {
                return Err(Box::new(Difference {
                    seed,
                    done,
                    step,
                    left,
                    right,
                }));
            }
            script.learn(&step, &left);
            done.push(step);
        }
        println!("seed {seed}: no difference\n{tally}");
        Ok(tally)
    }

    async fn carry_out(&mut self, step: &Step) -> (Vec<Heard>, Vec<Heard>) {
        let (mut left, mut right) = match step {
            Step::Connect { slot, how } => {
                tokio::join!(
                    self.left.connect(*slot, how),
                    self.right.connect(*slot, how)
                )
            }
            Step::Ask { slot, asks } => {
                tokio::join!(self.left.ask(*slot, asks), self.right.ask(*slot, asks))
            }
            Step::Cut { slot } => {
                self.left.cut(*slot);
                self.right.cut(*slot);
                (Vec::new(), Vec::new())
            }
        };
        self.note_closing(step, &left);
        sort_closing_events(&mut left, &self.closings);
        sort_closing_events(&mut right, &self.closings);
        (left, right)
    }

    fn note_closing(&mut self, step: &Step, heard: &[Heard]) {
        let Step::Ask { asks, .. } = step else { return };
        if asks
            .iter()
            .any(|(_, ask)| ask.op() == OpCode::CloseSession.code())
        {
            let zxids = heard.iter().filter_map(|heard| match heard {
                Heard::Answer(answer) => Some(answer.zxid),
                _ => None,
            });
            self.closings.extend(zxids);
        }
    }
}

fn complains(heard: &Heard) -> bool {
    matches!(heard, Heard::Answer(answer) if !answer.complaints.is_empty())
}

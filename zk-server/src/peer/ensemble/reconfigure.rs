//! A peer's part in a reconfiguration: what the leader is asked for, and what clients read.

use zk_proto::{ErrorCode, Utf8Bytes, Zxid, op::Request};

use super::{Order, Peer};
use crate::{
    reconfig::{Circumstances, Configuration, Configurations, next},
    tree::{DataTree, path},
    zab::Leader,
};

impl Peer {
    /// What comes of a request, if it asks for a reconfiguration of an ensemble that this member leads.
    ///
    /// A leader that cannot write down what comes of it refuses with `ReconfigDisabled`, and tries its files once more for
    /// the next time. Apache's goes on, and counts on the configuration before last when it comes back.
    pub(in crate::peer) fn next_configuration(
        &mut self,
        request: Option<&Request>,
        zxid: Zxid,
    ) -> Option<Result<Utf8Bytes, ErrorCode>> {
        let Some(Request::Reconfig(request)) = request else {
            return None;
        };
        let ensemble = self.ensemble.as_ref()?;
        let leader: &Leader = ensemble.member.leader()?;
        let configurations = leader.configurations();
        if ensemble.unwritten {
            tracing::error!(
                "a reconfiguration is refused: the configuration files cannot be written"
            );
            let configurations = configurations.clone();
            self.order(Order::Configure(configurations));
            return Some(Err(ErrorCode::ReconfigDisabled));
        }
        let at = Circumstances {
            current: configurations.committed(),
            in_progress: configurations.in_progress(),
            standalone_enabled: self.prep.options().standalone_enabled,
            synced: &leader.synced_voters(),
        };
        let next = next(request, at, zxid);
        Some(next.map(|next| Utf8Bytes::from(next.to_string().as_str())))
    }

    pub(super) fn configured(&mut self, configurations: Configurations) {
        let version = configurations.version();
        let in_progress = configurations.in_progress();
        tracing::info!(%version, in_progress, "the configuration of the ensemble");
        self.shared.configured(&configurations);
        let voters = configurations.committed().verifier().voters();
        self.shared.metrics.quorum.quorum_size.set(voters.count());
        self.order(Order::Configure(configurations));
    }
}

/// The configuration that a tree holds; `None` where it is one that an operator wrote, or none.
pub(crate) fn configuration_of(tree: &DataTree) -> Option<Configuration> {
    let text = tree.node(path::CONFIG)?.data()?;
    let configuration = Configuration::parse(str::from_utf8(text).ok()?).ok()?;
    (configuration.version() > Zxid::ZERO).then_some(configuration)
}

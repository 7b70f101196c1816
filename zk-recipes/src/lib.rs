//! Locks and live configuration on ZooKeeper, with fencing and honest loss.

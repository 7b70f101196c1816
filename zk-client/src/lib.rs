//! An async, session-aware ZooKeeper client.

//! A ZooKeeper server that speaks the client, quorum and disk formats of Apache ZooKeeper.

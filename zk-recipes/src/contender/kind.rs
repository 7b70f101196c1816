//! What a guard proves, as a type: which methods it has, and which task acquires it.

use futures::future::BoxFuture;

use super::{Answer, Contender, Role, Wanted, serve};

/// A kind of ownership: what an [`Acquire`](super::Acquire) waits for and a [`Guard`](super::Guard) proves.
///
/// Sealed; the kinds are those of this crate's recipes.
pub trait Kind: sealed::Contend {}

/// A kind that one contender owns at a time, so that its guards have a fencing token.
pub trait Exclusive: Kind {}

/// A kind whose every owner has a node of its own, with a name that nobody else's bears: a transaction that checks it is fenced.
pub trait Fenced: Kind {}

/// A kind whose contenders queue, and are listed in the order of the queue.
pub trait Queued: Kind + sealed::Place {}

pub(crate) mod sealed {
    use super::{Answer, BoxFuture, Role, Wanted};

    /// How a kind is acquired.
    #[expect(unnameable_types, reason = "that is what seals the kinds")]
    pub trait Contend: Sized + Send + 'static {
        /// What is to be said besides the path.
        type Wish: Clone + Send + Default + std::fmt::Debug;

        /// The contender's task: from the first step until its node is gone.
        #[expect(private_interfaces, reason = "sealed: nobody else calls it")]
        fn contend(wanted: Wanted<Self>, answer: Answer<Self>) -> BoxFuture<'static, ()>
        where
            Self: super::Kind;
    }

    /// Where in the queue a kind stands.
    #[expect(unnameable_types, reason = "that is what seals the kinds")]
    pub trait Place {
        /// The role in the queue.
        #[expect(private_interfaces, reason = "sealed: nobody else calls it")]
        const ROLE: Role;
    }
}

/// Makes a kind that queues.
macro_rules! queued {
    ($(#[$doc:meta])* $name:ident, $role:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl $crate::contender::Kind for $name {}
        impl $crate::contender::Fenced for $name {}
        impl $crate::contender::Queued for $name {}

        #[expect(private_interfaces, reason = "sealed: nobody else calls it")]
        impl $crate::contender::sealed::Place for $name {
            const ROLE: $crate::contender::Role = $crate::contender::Role::$role;
        }

        #[expect(private_interfaces, reason = "sealed: nobody else calls it")]
        impl $crate::contender::sealed::Contend for $name {
            type Wish = ();

            fn contend(
                wanted: $crate::contender::Wanted<Self>,
                answer: $crate::contender::Answer<Self>,
            ) -> futures::future::BoxFuture<'static, ()> {
                $crate::contender::queue(wanted, answer)
            }
        }
    };
}
pub(crate) use queued;

/// The task of a kind that queues.
pub(crate) fn queue<K: Queued>(wanted: Wanted<K>, answer: Answer<K>) -> BoxFuture<'static, ()> {
    Box::pin(serve(Contender::new(wanted, K::ROLE), answer))
}

queued! {
    /// One holder at a time: what a [`Lock`](crate::lock::Lock) is.
    Mutual, Mutex
}

impl Exclusive for Mutual {}

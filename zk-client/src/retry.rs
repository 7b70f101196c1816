//! How long to wait before trying again.
//!
//! One small pure policy serves both uses: the pauses between rounds over all servers, and the number of times
//! that a read is repeated. The random part comes from a generator that the caller passes in, so that a
//! simulation with the same seed waits the same time.
//!
//! Deliberately not here: any decision about *what* may be repeated. Only operations that change nothing are,
//! and the operations know that of themselves.

use std::time::Duration;

use fastrand::Rng;

/// Exponential delays with jitter, between a smallest and a largest one.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    read_attempts: u32,
}

impl Default for RetryPolicy {
    /// 20 ms, doubling to at most 2 s, half of it random; reads are repeated as often as their deadline allows.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(20), Duration::from_secs(2))
    }
}

impl RetryPolicy {
    /// Doubling delays from `initial` to at most `max`, half of each random.
    #[must_use]
    pub const fn exponential(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            factor: 2.0,
            jitter: 0.5,
            read_attempts: u32::MAX,
        }
    }

    /// The same delay every time, without a random part.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self {
            initial: delay,
            max: delay,
            factor: 1.0,
            jitter: 0.0,
            read_attempts: u32::MAX,
        }
    }

    /// By how much a delay grows with every attempt; 1 or less keeps it constant.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Which share of a delay is random, from 0 (none) to 1 (all).
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// How often a read may be sent in all, when the connection breaks under it; 1 repeats nothing.
    #[must_use]
    pub const fn read_attempts(mut self, attempts: u32) -> Self {
        self.read_attempts = attempts;
        self
    }

    /// The delay before attempt number `attempt`, counted from 0 for the first repetition.
    #[must_use]
    pub fn delay(&self, attempt: u32, rng: &mut Rng) -> Duration {
        let growth = self.factor.max(1.0).powf(f64::from(attempt.min(1000)));
        let full = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        let random = full * self.jitter;
        let delay = full - random + random * rng.f64();
        Duration::try_from_secs_f64(delay).unwrap_or(self.max)
    }

    pub(crate) const fn read_attempt_limit(&self) -> u32 {
        self.read_attempts
    }
}

#[cfg(feature = "backoff")]
impl From<backoff::ExponentialBackoff> for RetryPolicy {
    /// Takes over the intervals, the multiplier and the randomization, to both sides of an interval as there; its clock and
    /// elapsed time do not matter here, since every operation has its own deadline.
    fn from(backoff: backoff::ExponentialBackoff) -> Self {
        let spread = backoff.randomization_factor.clamp(0.0, 1.0);
        let longest = |interval: Duration| {
            Duration::try_from_secs_f64(interval.as_secs_f64() * (1.0 + spread)).unwrap_or(interval)
        };
        Self::exponential(
            longest(backoff.initial_interval),
            longest(backoff.max_interval),
        )
        .factor(backoff.multiplier)
        .jitter(2.0 * spread / (1.0 + spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_largest_and_stay_between_half_and_whole() {
        let policy = RetryPolicy::default();
        let mut rng = Rng::with_seed(7);
        for attempt in 0..2000 {
            let full = Duration::from_millis(20)
                .saturating_mul(2_u32.saturating_pow(attempt))
                .min(Duration::from_secs(2));
            let delay = policy.delay(attempt, &mut rng);
            assert!(
                delay >= full / 2 && delay <= full,
                "{attempt}: {delay:?} of {full:?}"
            );
        }
    }

    #[test]
    fn the_same_seed_waits_the_same_time() {
        let delays = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..9)
                .map(|n| RetryPolicy::default().delay(n, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn a_constant_policy_is_constant() {
        let policy = RetryPolicy::constant(Duration::from_millis(5));
        assert_eq!(
            policy.delay(77, &mut Rng::with_seed(1)),
            Duration::from_millis(5)
        );
    }

    #[cfg(feature = "backoff")]
    #[test]
    fn a_backoff_waits_as_long_as_it_says_itself() {
        let backoff = backoff::ExponentialBackoff {
            initial_interval: Duration::from_millis(30),
            max_interval: Duration::from_secs(1),
            multiplier: 3.0,
            randomization_factor: 0.0,
            ..backoff::ExponentialBackoff::default()
        };
        let exactly = RetryPolicy::from(backoff.clone());
        let delays: Vec<_> = (0..6)
            .map(|attempt| exactly.delay(attempt, &mut Rng::with_seed(1)))
            .map(|delay| delay.as_millis())
            .collect();
        assert_eq!(delays, [30, 90, 270, 810, 1000, 1000]);
        let roughly = RetryPolicy::from(backoff::ExponentialBackoff {
            randomization_factor: 0.5,
            ..backoff
        });
        let mut rng = Rng::with_seed(1);
        let delays: Vec<_> = (0..100).map(|_| roughly.delay(0, &mut rng)).collect();
        let (shortest, longest) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        let bounds = [shortest, longest].map(|delay| delay.as_millis());
        // To both sides of the interval, as the crate's own.
        assert!(
            (15..20).contains(&bounds[0]) && (40..=45).contains(&bounds[1]),
            "{bounds:?}"
        );
    }
}

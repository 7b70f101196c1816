//! Time, as it is handed to the cores.

use std::time::Duration;

/// The moment at which an input is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since an arbitrary origin, never going back, and counting while the machine sleeps: deadlines and
    /// expiry are measured on it.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch; goes into transaction headers and nowhere else.
    pub wall_ms: i64,
}

impl Now {
    /// [`mono`](Self::mono) in whole milliseconds.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        u64::try_from(self.mono.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A moment as Java prints it: `Sat Nov 21 14:06:21 UTC 2026`.
#[must_use]
pub(crate) fn java_date(wall_ms: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let (days, seconds) = (
        wall_ms.div_euclid(86_400_000),
        wall_ms.rem_euclid(86_400_000) / 1000,
    );
    // Years begin in March, so that a leap day is the last of its year.
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (
        since_march_0000.div_euclid(146_097),
        since_march_0000.rem_euclid(146_097),
    );
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + i64::from(month >= 10);
    let name = |names: &[&'static str], at: i64| {
        let at = usize::try_from(at).unwrap_or_default();
        names.get(at).copied().unwrap_or_default()
    };
    let (weekday, month) = (name(&WEEKDAYS, days.rem_euclid(7)), name(&MONTHS, month));
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = seconds % 60;
    format!("{weekday} {month} {day:02} {hours:02}:{minutes:02}:{seconds:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        for (ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (951_868_799_999, "Tue Feb 29 23:59:59 UTC 2000"),
            (951_868_800_000, "Wed Mar 01 00:00:00 UTC 2000"),
            (1_795_269_981_000, "Sat Nov 21 14:06:21 UTC 2026"),
            (4_102_444_799_000, "Thu Dec 31 23:59:59 UTC 2099"),
            (-1000, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(java_date(ms), text);
        }
    }
}

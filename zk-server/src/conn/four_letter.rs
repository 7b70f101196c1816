//! The words of four letters that stand where a first frame's length would be.
//!
//! Facts: `FourLetterCommands.java`. Every word's bytes, read as a length, are far over any frame limit, so
//! a word and a frame cannot be mistaken for each other.

use std::str::FromStr;

macro_rules! words {
    ($( $(#[$meta:meta])* $name:ident = $text:literal, )*) => {
        /// A command of four letters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FourLetterWord { $( $(#[$meta])* $name, )* }

        impl FourLetterWord {
            /// Every word, in alphabetical order.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The word itself.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }

        impl FromStr for FourLetterWord {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $( $text => Ok(Self::$name), )* _ => Err(()) }
            }
        }
    };
}

words! {
    /// The configuration.
    Conf = "conf",
    /// Every connection, in detail.
    Cons = "cons",
    /// Resets the counters of every connection.
    Crst = "crst",
    /// The sizes of the data directories.
    Dirs = "dirs",
    /// Sessions, ephemeral nodes and connections.
    Dump = "dump",
    /// The environment.
    Envi = "envi",
    /// The trace mask.
    Gtmk = "gtmk",
    /// The tree's digest as it was after certain transactions.
    Hash = "hash",
    /// Whether the server is read-only.
    Isro = "isro",
    /// Every metric.
    Mntr = "mntr",
    /// Whether the server runs.
    Ruok = "ruok",
    /// Resets the server's counters.
    Srst = "srst",
    /// The server in short.
    Srvr = "srvr",
    /// The server in short, and its connections.
    Stat = "stat",
    /// Sets the trace mask, which follows the word as eight bytes.
    Stmk = "stmk",
    /// Watches by session.
    Wchc = "wchc",
    /// Watches by path.
    Wchp = "wchp",
    /// The number of watches.
    Wchs = "wchs",
}

impl FourLetterWord {
    /// The word at the front of what a client sent first, if it is one.
    #[must_use]
    pub fn at_front_of(input: &[u8]) -> Option<Self> {
        let word = str::from_utf8(input.get(..4)?).ok()?;
        word.parse().ok()
    }

    /// The eight bytes behind the word, if they have come with it.
    #[must_use]
    pub fn argument(input: &[u8]) -> Option<i64> {
        let bytes = input.get(4..12)?;
        Some(i64::from_be_bytes(bytes.try_into().ok()?))
    }

    /// What Apache answers for a word that is not on the list.
    #[must_use]
    pub fn refusal(self) -> String {
        let word = self.as_str();
        format!("{word} is not executed because it is not in the whitelist.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_can_be_a_frame_length() {
        for word in FourLetterWord::ALL {
            let bytes: [u8; 4] = word.as_str().as_bytes().try_into().unwrap();
            assert!(i32::from_be_bytes(bytes) > 0x10_0000);
            assert_eq!(FourLetterWord::at_front_of(&bytes), Some(*word));
        }
        assert_eq!(FourLetterWord::at_front_of(b"ruo"), None);
        assert_eq!(FourLetterWord::at_front_of(b"\0\0\0\x2d"), None);
    }
}

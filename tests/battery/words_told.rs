//! Which words are answered (`4lw.commands.whitelist`).

use crate::subject::Subject;

cases_with! {
    only_srvr_unless_more_is_said: [("4lw.commands.whitelist", "")],
    a_list_of_words: [("4lw.commands.whitelist", " ruok , nope,mntr")],
    a_star_among_words: [("4lw.commands.whitelist", "ruok, *")],
}

/// Every word there is.
const WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
    "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

async fn only_srvr_unless_more_is_said(s: Subject) {
    answered(&s, &["srvr"]).await;
}

async fn a_list_of_words(s: Subject) {
    answered(&s, &["ruok", "mntr", "srvr"]).await;
}

async fn a_star_among_words(s: Subject) {
    let but_stmk: Vec<&str> = WORDS.into_iter().filter(|word| *word != "stmk").collect();
    for word in but_stmk {
        let answer = s.word(word).await;
        assert!(!answer.contains("whitelist"), "{word}: {answer}");
    }
}

async fn answered(s: &Subject, words: &[&str]) {
    for word in WORDS {
        let refusal = format!("{word} is not executed because it is not in the whitelist.\n");
        let answer = s.word(word).await;
        assert_eq!(answer != refusal, words.contains(&word), "{word}: {answer}");
    }
}

//! The recognition of a target by accounts of ours. The answer about each account is one vote.

use crate::model::UserId;

/// The vote of one account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vote {
    /// The target shows the account as rosterd knows it.
    Ours,
    /// The target does not have the account, for this reason.
    Missing(String),
    /// The account cannot be read, which says nothing about the target.
    Unread(String),
}

/// The result of all votes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Ours,
    /// The target shows none of the accounts, each for its reason.
    Foreign(String),
    /// No account was shown, and at least one could not be read.
    Unknown(String),
}

impl Verdict {
    /// Counts the votes. One account of ours is enough. Without any account there is nothing by which
    /// a target could differ.
    pub fn of(votes: &[(UserId, Vote)]) -> Self {
        let reasons = |wanted: fn(&Vote) -> Option<&String>| -> Vec<String> {
            let reasons = votes.iter().filter_map(|(user, vote)| Some((user, wanted(vote)?)));
            reasons.map(|(user, reason)| format!("account of user {user}: {reason}")).collect()
        };
        let unread = reasons(|vote| match vote {
            Vote::Unread(reason) => Some(reason),
            Vote::Ours | Vote::Missing(_) => None,
        });
        let missing = reasons(|vote| match vote {
            Vote::Missing(reason) => Some(reason),
            Vote::Ours | Vote::Unread(_) => None,
        });
        if missing.len() + unread.len() < votes.len() || votes.is_empty() {
            Self::Ours
        } else if unread.is_empty() {
            Self::Foreign(missing.join("; "))
        } else {
            Self::Unknown(unread.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_of_ours_is_enough_and_an_unread_one_says_nothing() {
        let table: [(&[&str], &str); 9] = [
            (&[], "ours"),
            (&["ours"], "ours"),
            (&["missing", "unread", "ours"], "ours"),
            (&["unread", "unread", "ours"], "ours"),
            (&["missing", "missing", "ours"], "ours"),
            (&["missing"], "foreign 0: missing"),
            (&["missing", "missing", "missing"], "foreign 0: missing; 1: missing; 2: missing"),
            (&["missing", "unread", "missing"], "unknown 1: unread"),
            (&["unread", "missing", "unread"], "unknown 0: unread; 2: unread"),
        ];
        for (votes, expected) in table {
            let vote = |(number, text): (usize, &&str)| {
                let reason = (*text).to_owned();
                let vote = match *text {
                    "ours" => Vote::Ours,
                    "missing" => Vote::Missing(reason),
                    _ => Vote::Unread(reason),
                };
                (UserId(uuid::Uuid::from_u128(number as u128)), vote)
            };
            let counted: Vec<_> = votes.iter().enumerate().map(vote).collect();
            let found = match Verdict::of(&counted) {
                Verdict::Ours => "ours".to_owned(),
                Verdict::Foreign(reasons) => format!("foreign {reasons}"),
                Verdict::Unknown(reasons) => format!("unknown {reasons}"),
            };
            let found = found
                .replace("account of user ", "")
                .replace("00000000-0000-0000-0000-00000000000", "");
            assert_eq!(found, expected, "{votes:?}");
        }
    }
}

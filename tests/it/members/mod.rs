//! Accounts, their domains and their users, with and without a directory.

mod accounts;
mod domains;
mod invitations;
mod lists;
mod managed;

use rosterd::engine::{EngineError, Invitation, Sort, UserQuery};
use rosterd::model::AccountKind;
use serde_json::Value;

use crate::firm::{Firm, alice};

/// Returns a company before its first run, and a team beside it.
async fn with_team() -> Firm {
    let firm = Firm::of(0, |_| {}).await;
    firm.trust(&["example.org", "example.net"]);
    firm.engine.create_account("club", "The Club", &alice()).await.unwrap();
    firm
}

impl Firm {
    async fn invited(&self, account: &str, text: &str) -> Vec<(String, Invitation)> {
        self.engine.invite(account, &[text.to_owned()], &alice()).await.unwrap()
    }

    async fn kind(&self, account: &str) -> AccountKind {
        self.engine.account(account).await.unwrap().kind
    }

    /// Returns the kinds that accounts were converted to, oldest first.
    async fn conversions(&self) -> Vec<Value> {
        let events = self.events("account.converted").await;
        events.iter().map(|e| e["data"]["after"]["kind"].clone()).collect()
    }

    /// Returns the addresses of all matching users.
    async fn listed(&self, query: UserQuery) -> Vec<String> {
        let page = self
            .engine
            .list_users(UserQuery { limit: 1_000, sort: Sort::Address, ..query })
            .await
            .unwrap();
        page.users.iter().map(|u| u.addresses.primary.as_ref().unwrap().to_string()).collect()
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
    match result.unwrap_err() {
        other @ (EngineError::Store(_) | EngineError::NotFound { .. }) => panic!("{other}"),
        refused => refused.to_string(),
    }
}

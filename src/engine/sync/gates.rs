//! Gates: the administrator's programs that are asked before anything is applied. Silence is no consent.
//!
//! A gate is shown what would be applied, and thinks while nobody waits for it: an operator's emergency brake, and the other
//! directories, go on meanwhile. What it let pass is applied only if it is still the same afterwards. What an operator has
//! approved needs no gate any more.

use serde_json::{Value, json};

use crate::engine::sync::plan::Judged;
use crate::engine::{Directory, Engine};
use crate::hooks::gate::{Verdict, ask};
use crate::model::Digest;

/// What the gates say of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Gates {
    /// They were not asked yet.
    Unasked,
    /// They let exactly this pass.
    Passed(Digest),
    /// One of them holds everything; why, and what it printed.
    Held(String),
}

/// What the gates are asked.
#[derive(Debug)]
pub(in crate::engine) struct Question {
    /// What would be applied without an operator's approval.
    digest: Digest,
    /// The plan, as the gates are shown it.
    plan: Value,
}

impl Engine {
    /// What is still to be asked before this is applied, if anything is.
    pub(in crate::engine) fn question(
        &self,
        directory: &Directory,
        judged: &Judged,
        gates: &Gates,
    ) -> Option<Question> {
        if self.configured().rules.gates.is_empty() || matches!(gates, Gates::Held(_)) {
            return None;
        }
        let admitted = judged
            .verdict
            .admitted
            .changes()
            .filter(|(_, approved)| !approved)
            .map(|(change, _)| change);
        let changes: Vec<_> = admitted.collect();
        let digest = Digest::of_all(changes.iter().map(|c| c.digest()).collect());
        if changes.is_empty() || *gates == Gates::Passed(digest) {
            return None;
        }
        let changes: Vec<Value> = changes.iter().map(|c| c.document()).collect();
        let plan = json!({ "id": null, "directory": directory.config.name, "changes": changes, "quarantined": judged.verdict.quarantined });
        Some(Question { digest, plan })
    }

    /// Asks one gate after the other; the first that does not let it pass decides.
    pub(in crate::engine) async fn ask_gates(&self, Question { digest, plan }: Question) -> Gates {
        for gate in &self.configured().rules.gates {
            if let Verdict::Holds { why, printed } =
                ask(&self.runner, gate, &plan, self.store.instance()).await
            {
                return Gates::Held(if printed.is_empty() {
                    why
                } else {
                    format!("{why}\n{printed}")
                });
            }
        }
        Gates::Passed(digest)
    }
}

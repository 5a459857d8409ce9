//! Gates: programs that are asked before a plan is applied. A gate that does not answer holds the plan.
//!
//! The apply lock is released while gates are asked, so that other directories and operators do not
//! wait. The plan is made again afterwards, and applied only if its digest is the one that passed. Approved changes are not shown to gates.

use serde_json::json;

use crate::engine::sync::stages::{GateAnswer, GateQuestion, ReviewedRun};
use crate::engine::{Directory, Engine, EngineError, Phase};
use crate::hooks::gate::{GateVerdict, ask};
use crate::model::Digest;

impl Engine {
    /// Returns the question to ask before the plan is applied; `None` when no gate has to be asked.
    pub(in crate::engine) fn gate_question(
        &self,
        directory: &Directory,
        planned: &mut ReviewedRun,
        answer: &GateAnswer,
    ) -> Result<Option<GateQuestion>, EngineError> {
        if self.configured().rules.gates.is_empty() || matches!(answer, GateAnswer::Held(_)) {
            return Ok(None);
        }
        let (mut digests, mut changes) = (Vec::new(), Vec::new());
        let mut quarantined = Vec::new();
        let ReviewedRun { reviewed, plans, .. } = planned;
        let mut slices = 0..;
        plans.show(|proposal| {
            let slice = slices.next().unwrap_or_default();
            let admitted = reviewed.ruling.admitted(slice, proposal);
            for (change, _) in admitted.filter(|(_, approved)| !approved) {
                digests.push(change.digest());
                changes.push(change.document());
            }
            quarantined.extend(proposal.plan.quarantined.iter().cloned());
        })?;
        let digest = Digest::of_all(digests);
        if changes.is_empty() || *answer == GateAnswer::Passed(digest) {
            return Ok(None);
        }
        let plan = json!({
            "id": null,
            "directory": directory.config.name,
            "changes": changes,
            "quarantined": quarantined,
        });
        Ok(Some(GateQuestion { digest, plan }))
    }

    /// Asks the gates in order. The first that does not pass the plan holds it.
    pub(in crate::engine) async fn ask_gates(
        &self,
        directory: &Directory,
        question: GateQuestion,
    ) -> GateAnswer {
        directory.work.progress.send_modify(|p| p.phase = Phase::Asking);
        let GateQuestion { digest, plan } = question;
        for gate in &self.configured().rules.gates {
            if let GateVerdict::Hold { reason, printed } =
                ask(&self.runner, gate, &plan, &self.instance()).await
            {
                return GateAnswer::Held(if printed.is_empty() {
                    reason
                } else {
                    format!("{reason}\n{printed}")
                });
            }
        }
        GateAnswer::Passed(digest)
    }
}

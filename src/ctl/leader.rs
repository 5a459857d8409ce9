//! `rosterctl leader`: who leads a shared store, and how another node does.

use clap::Subcommand;

use super::link::{Daemon, Failure};
use super::text::{Page, View, bold, dim, green, table, time_and_age, yellow};
use super::{Exit, Output};
use crate::control::api::{Cluster, ClusterLeader, ClusterNode, ForgetNode, StepDown};
use crate::control::client::Route;

/// Show which node leads a shared store, or let another one lead
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show who leads, and all nodes
    Show,
    /// Let another node lead, within seconds. Works on every node
    StepDown {
        /// The node that is to lead; any other one if absent
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
    },
    /// Let the node lead that answers on this socket
    Take,
    /// Forget a node that is gone for good. Works on every node
    Forget {
        /// The node that is gone
        #[arg(value_name = "NODE")]
        node: String,
    },
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let cluster = match command {
        Command::Show => daemon.get::<Cluster>(&Route::to(["leader"])).await?,
        Command::StepDown { to } => {
            let asked = StepDown { to: to.clone() };
            daemon.post::<Cluster>(&Route::to(["leader", "step-down"]), &asked).await?
        }
        Command::Forget { node } => {
            let asked = ForgetNode { node: node.clone() };
            daemon.post::<Cluster>(&Route::to(["leader", "forget"]), &asked).await?
        }
        Command::Take => daemon.post::<Cluster>(&Route::to(["leader", "take"]), &()).await?,
    };
    output.data(&cluster.raw, |view| page(&cluster.value, view))?;
    Ok(Exit::Done)
}

/// Returns the line of the status about a shared store.
pub(super) fn line(cluster: &Cluster, view: &View) -> String {
    let Cluster { node, leader, .. } = cluster;
    match leader {
        Some(leader) if leader.node == *node => {
            format!("{} leads since {}", bold(node), time_and_age(&leader.since, view))
        }
        Some(leader) => format!(
            "{} waits; {} leads since {}: ask there for changes, and for what is under way",
            bold(node),
            bold(&leader.node),
            time_and_age(&leader.since, view)
        ),
        None => yellow(format!("{node} waits; nobody leads at this moment")),
    }
}

pub fn page(cluster: &Cluster, view: &View) -> Page {
    let Cluster { node: _, leader, lease_seconds: _, nodes, attention } = cluster;
    let mut page = Page::default();
    match leader {
        Some(ClusterLeader { node, epoch, since }) => page.line(format!(
            "{} leads since {}, term {epoch}",
            bold(node),
            time_and_age(since, view)
        )),
        None => page.line(yellow("nobody leads at this moment")),
    }
    page.line("");
    let rows = nodes.iter().map(|each| {
        let ClusterNode { node, leads, takeover, version, configuration, heard_at, health } = each;
        let part = match (leads, takeover) {
            (true, _) => green("leads"),
            (false, true) => "waits".to_owned(),
            (false, false) => dim("never leads"),
        };
        [
            node.clone(),
            part,
            version.clone(),
            configuration.clone(),
            time_and_age(heard_at, view),
            health.clone(),
        ]
    });
    page.append(&table(["NODE", "PART", "VERSION", "CONFIGURATION", "HEARD", "SAYS"], rows, view));
    for sentence in attention {
        page.sentence(&format!("  {} ", yellow("!")), sentence, view);
    }
    page
}

//! The connection of one run. A question that ends it costs its own answer: the next one gets a fresh connection.

use crate::directory::{Session, Settings};
use crate::engine::{Directory, Engine, EngineError};

/// Connections that one run opens in place of one that ended. A server that ends all of them is given up.
const REPLACEMENTS: u8 = 12;

/// A session with one server, and what it takes to open another one like it.
#[derive(Debug)]
pub(in crate::engine) struct Connection {
    pub session: Session,
    pub settings: Settings,
    replacements: u8,
}

impl Engine {
    /// Opens the connection of a run.
    pub(in crate::engine) async fn connect(
        &self,
        directory: &Directory,
    ) -> Result<Connection, EngineError> {
        let (session, settings) = self.open(directory).await?;
        Ok(Connection { session, settings, replacements: REPLACEMENTS })
    }

    /// Whether questions can be asked: a connection that has ended is replaced by one to the same server, and the same
    /// copy of its database.
    pub(in crate::engine) async fn is_connected(
        &self,
        directory: &Directory,
        connection: &mut Connection,
    ) -> bool {
        if connection.session.is_open() {
            return true;
        }
        if connection.replacements == 0 {
            return false;
        }
        connection.replacements -= 1;
        let opened =
            self.open_at(directory, &connection.settings, &connection.session.server).await;
        match opened {
            Ok(session) if session.root.identity == connection.session.root.identity => {
                connection.session = session;
                true
            }
            // A server that cannot be reached now is not tried again and again by one run.
            Ok(_) | Err(_) => {
                connection.replacements = 0;
                false
            }
        }
    }
}

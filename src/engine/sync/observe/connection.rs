//! The connection of one run. A request that ends it fails alone: the next one gets a new connection.

use crate::directory::{Session, Settings, Use};
use crate::engine::{Directory, Engine, EngineError};
use crate::reconcile::HighWaterMarks;

/// Maximum number of new connections of one run, so that a run on a failing server ends.
const MAX_REPLACEMENTS: u8 = 12;

/// A session with one server, and the settings to open another one.
#[derive(Debug)]
pub(in crate::engine) struct Connection {
    pub session: Session,
    pub settings: Settings,
    /// The marks of the servers before the connection, so that none of them is newer than the server's USN.
    pub marks: HighWaterMarks,
    replacements: u8,
}

impl Engine {
    pub(in crate::engine) async fn connect(
        &self,
        directory: &Directory,
        purpose: Use,
    ) -> Result<Connection, EngineError> {
        let marks = self.store.directory(&directory.config.name).await?.high_water_marks;
        let (session, settings) = self.open(directory, purpose).await?;
        Ok(Connection { session, settings, marks, replacements: MAX_REPLACEMENTS })
    }

    /// Returns whether the connection is open. One that has ended, or whose ticket is about to end, is
    /// replaced by another one to the same server and the same copy of its database.
    pub(in crate::engine) async fn is_connected(
        &self,
        directory: &Directory,
        connection: &mut Connection,
    ) -> bool {
        let is_ending = connection.session.renewal_due_in().is_some_and(|left| left.is_zero());
        if connection.session.is_open() && !is_ending {
            return true;
        }
        if connection.replacements == 0 {
            return connection.session.is_open();
        }
        connection.replacements -= 1;
        match self.open_beside(directory, &connection.session, &connection.settings).await {
            Ok(session) => {
                connection.session = session;
                true
            }
            // A run does not retry a server that cannot be reached.
            Err(_) => {
                connection.replacements = 0;
                connection.session.is_open()
            }
        }
    }
}

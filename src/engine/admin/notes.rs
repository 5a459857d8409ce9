//! Notes on users.

use serde_json::json;

use crate::engine::admin::users::UserError;
use crate::engine::{Engine, EngineError};
use crate::model::{Actor, Event, EventCause, Identity, KnownAs, Note, NoteText, User};

impl Engine {
    /// Writes an operator's note on a user, in place of the one before; `None` clears it. An equal
    /// text changes nothing.
    pub async fn note(
        &self,
        who: &str,
        text: Option<&str>,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        let text = text.map(NoteText::parse).transpose().map_err(UserError::Note)?;
        let former = user.note.as_ref().map(|note| &note.text);
        if former.is_none() && text.is_none() {
            return Err(UserError::NoNote(who.to_owned()).into());
        }
        if former == text.as_ref() {
            return Ok(user);
        }
        let at = self.clock.now();
        let account = Some(self.account_of(&user).await?.handle);
        let cause = EventCause { actor: actor.clone(), run: None, account, at };
        let (before, after) = (json!({ "note": former }), json!({ "note": text }));
        let note = text.map(|text| Note { text, actor: actor.clone(), at });
        let noted = User { note, ..user.clone() };
        let known = KnownAs {
            before: Some(Identity::of(&user, None)),
            after: Some(Identity::of(&noted, None)),
        };
        let event = Event {
            user: Some(Box::new(known)),
            ..Event::about("user.noted", user.id, &cause, before, after)
        };
        self.store.set_note(user.id, noted.note.as_ref(), event, &self.clock).await?;
        Ok(noted)
    }
}

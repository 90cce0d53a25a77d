//! Which configuration is in force, for `/health`.

use serde::Serialize;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Configuration(Mutex<State>);

#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    /// When what is in force was read, RFC 3339.
    pub(crate) read: String,
    /// Why the newest file is not in force.
    pub(crate) refused: Option<String>,
    /// Tables whose changes wait for a restart.
    pub(crate) restart: Vec<&'static str>,
}

impl Configuration {
    pub(crate) fn new(read: String) -> Self {
        Self(Mutex::new(State { read, refused: None, restart: Vec::new() }))
    }

    pub(crate) fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn in_force(&self, read: String, restart: Vec<&'static str>) {
        self.set(State { read, refused: None, restart });
    }

    pub(crate) fn refused(&self, why: String) {
        self.set(State { refused: Some(why), ..self.state() });
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

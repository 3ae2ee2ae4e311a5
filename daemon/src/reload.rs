//! `peregrine reload`, SIGHUP and `POST /v1/reload`: another configuration while the daemon runs.
//!
//! The file is read and compared with what runs first. A file with errors changes nothing, nor does one with a
//! change that takes a restart: what is in force is always one file as a whole. Then best paths are decided
//! by the new options, sessions whose own settings differ are reset, neighbours come and go, routes of the
//! sessions that stay are judged anew, and prefixes originated here are announced or withdrawn.
//!
//! Reading and comparing go on in a thread of their own, and whatever takes long in the RIB is done there in
//! slices: neither keepalives nor routes wait for a reload.

use std::path::PathBuf;
use std::sync::Arc;

use conf::{Change, ConfError, Config, Effect};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::api::types::{ChangeInfo, ReloadReport};
use crate::routing::origin::OriginHandle;
use crate::routing::{self, RibHandle, RibStopped};
use crate::session::{Listeners, Peers};

/// Why the configuration in force stays what it was.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// The file cannot be used.
    #[error("the configuration has errors; nothing was changed")]
    Invalid(Vec<ConfError>),
    /// It can, but not by the daemon that runs.
    #[error("nothing was changed: {} cannot change at run time; restart the daemon for it", keys.join(", "))]
    Restart {
        /// The keys, with their sections.
        keys: Vec<String>,
        /// All that the file changes.
        changes: Vec<Change>,
    },
    /// The daemon is stopping.
    #[error(transparent)]
    Stopped(#[from] RibStopped),
}

/// Replaces the configuration.
pub(crate) struct Reloader {
    path: PathBuf,
    /// What is in force. Locked throughout: one reload at a time.
    config: Mutex<Arc<Config>>,
    peers: Arc<Peers>,
    listeners: Arc<Listeners>,
    rib: RibHandle,
    origin: OriginHandle,
}

impl Reloader {
    /// Of the file that the daemon was started with.
    pub(crate) fn new(
        path: PathBuf,
        config: Arc<Config>,
        peers: Arc<Peers>,
        listeners: Arc<Listeners>,
        rib: RibHandle,
        origin: OriginHandle,
    ) -> Self {
        Self { path, config: Mutex::new(config), peers, listeners, rib, origin }
    }

    /// Reads the file again and says what it would change.
    pub(crate) async fn check(&self) -> Result<ReloadReport, ReloadError> {
        self.read(true).await
    }

    /// Reads the file again and, unless it is only to be `check`ed, goes on by it.
    async fn read(&self, check: bool) -> Result<ReloadReport, ReloadError> {
        let mut config = self.config.lock().await;
        let (path, old) = (self.path.clone(), Arc::clone(&config));
        let read = move || -> Result<_, Vec<ConfError>> {
            let mut new = conf::load(&path, conf::environment())?;
            new.share(&old);
            let changes = conf::diff(&old, &new);
            Ok((Arc::new(new), changes))
        };
        // It only fails when the runtime ends, or by a panic, which ends the process.
        let read = tokio::task::spawn_blocking(read).await.map_err(|_| RibStopped)?;
        let (new, changes) = read.map_err(ReloadError::Invalid)?;
        let keys: Vec<String> = changes.iter().filter_map(Change::restarts).collect();
        if !keys.is_empty() {
            return Err(ReloadError::Restart { keys, changes });
        }
        let resets = self.peers.resets(&new);
        if !check {
            self.apply(&new).await?;
            config.clone_from(&new);
        }
        Ok(ReloadReport {
            changes: changes.iter().map(shown).collect(),
            resets,
            warnings: new.warnings().iter().map(ToString::to_string).collect(),
            applied: !check,
        })
    }

    async fn apply(&self, new: &Arc<Config>) -> Result<(), RibStopped> {
        self.rib.set_rules(routing::rules(new)).await?;
        if let Err(error) = self.listeners.protect(new) {
            tracing::error!("{error}");
        }
        self.peers.configure(new).await?;
        self.origin.configure(Arc::clone(new)).await
    }

    /// Reads the file again and goes on by it. The log has the outcome, whoever asked for it.
    pub(crate) async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let outcome = self.read(false).await;
        match &outcome {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                for change in &report.changes {
                    tracing::info!("{}", change.text);
                }
                tracing::info!(changes = report.changes.len(), "configuration reloaded");
            }
            Err(error) => {
                if let ReloadError::Invalid(errors) = error {
                    for error in errors {
                        tracing::error!("{error}");
                    }
                }
                tracing::error!("{error}");
            }
        }
        outcome
    }
}

/// A change as the API tells it.
pub(crate) fn shown(change: &Change) -> ChangeInfo {
    let effect = match change.effect() {
        Effect::Nothing => "none",
        Effect::Reevaluate => "reevaluate",
        Effect::ResetSession => "reset-session",
        Effect::Restart => "restart",
    };
    ChangeInfo { text: change.to_string(), effect: effect.to_owned() }
}

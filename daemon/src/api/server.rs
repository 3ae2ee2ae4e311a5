//! The API's listeners and routes.
//!
//! The Unix socket carries everything. The TCP address carries only what reads: `GET` requests and
//! `/metrics`; changing the router takes the permission to open the socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::types::ApiError;
use super::{App, handlers};

/// Owner and group may use the socket.
const SOCKET_MODE: u32 = 0o660;

/// Why the API cannot be served.
#[derive(Debug, Error)]
pub enum ApiListenError {
    /// The Unix socket.
    #[error("cannot listen on the API socket {}: {source}; check `socket` in [api] and its directory's permissions", path.display())]
    Unix {
        /// The path of `[api] socket`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon answers on it.
    #[error("another daemon answers on the API socket {}: stop it, or give `socket` in [api] another path", path.display())]
    InUse {
        /// The path of `[api] socket`.
        path: PathBuf,
    },
    /// The TCP address.
    #[error("cannot listen on {address} for the API: {source}; check `listen` in [api]")]
    Tcp {
        /// The address of `[api] listen`.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The API's listening sockets, open but not served yet.
pub(crate) struct Listeners {
    unix: UnixListener,
    path: PathBuf,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Opens the sockets that the configuration names.
    pub(crate) async fn open(config: &conf::Api) -> Result<Self, ApiListenError> {
        let unix = open_unix(&config.socket).await?;
        let tcp = match config.listen {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address).await.map_err(|source| ApiListenError::Tcp { address, source })?,
            ),
        };
        Ok(Self { unix, path: config.socket.clone(), tcp })
    }

    /// Serves until the process ends.
    pub(crate) fn serve(self, app: Arc<App>) -> ServedSocket {
        let reading = reading_routes();
        let writing = Router::new().route("/v1/neighbors/{address}/clear", post(handlers::clear));
        let everything = reading.clone().merge(writing).fallback(unknown).with_state(Arc::clone(&app));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(self.unix, everything).await {
                tracing::error!(%error, "the API socket failed");
            }
        });
        if let Some(tcp) = self.tcp {
            let reading = reading.fallback(unknown).with_state(app);
            tokio::spawn(async move {
                if let Err(error) = axum::serve(tcp, reading).await {
                    tracing::error!(%error, "the API's TCP socket failed");
                }
            });
        }
        ServedSocket(self.path)
    }
}

/// Removes the Unix socket's file when the daemon stops.
pub(crate) struct ServedSocket(PathBuf);

impl Drop for ServedSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "cannot remove the API socket");
        }
    }
}

async fn open_unix(path: &Path) -> Result<UnixListener, ApiListenError> {
    let failed = |source| ApiListenError::Unix { path: path.to_path_buf(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    if path.exists() {
        // A socket that nobody answers on was left by a daemon that was killed.
        if UnixStream::connect(path).await.is_ok() {
            return Err(ApiListenError::InUse { path: path.to_path_buf() });
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

fn reading_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/summary", get(handlers::summary))
        .route("/v1/neighbors", get(handlers::neighbors))
        .route("/v1/neighbors/{address}", get(handlers::neighbor))
        .route("/v1/routes", get(handlers::routes))
        .route("/v1/explain", get(handlers::explain))
        .route("/v1/fib", get(handlers::fib))
        .route("/v1/nexthops", get(handlers::next_hops))
        .route("/v1/counters", get(handlers::counters))
        .route("/v1/monitor/routes", get(handlers::monitor_routes))
        .route("/v1/monitor/sessions", get(handlers::monitor_sessions))
        .route("/metrics", get(handlers::metrics))
}

async fn unknown() -> Refusal {
    Refusal::not_found("no such path; the API's paths are listed in the README")
}

/// A request that is refused: an HTTP status and a JSON body that says why.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: reason.into() }
    }

    pub(crate) fn unavailable(reason: &impl std::error::Error) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason: reason.to_string() }
    }
}

impl From<crate::routing::RibStopped> for Refusal {
    fn from(stopped: crate::routing::RibStopped) -> Self {
        Self::unavailable(&stopped)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(ApiError { error: self.reason })).into_response()
    }
}

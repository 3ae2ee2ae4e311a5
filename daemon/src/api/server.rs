//! The API's listeners and routes.
//!
//! The Unix socket carries everything. The TCP address carries only what reads: `GET` requests and
//! `/metrics`; changing the router takes the permission to open the socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::patience::Patient;
use super::types::ApiError;
use super::{App, bfd, handlers};

/// Owner and group may use the socket.
const SOCKET_MODE: u32 = 0o660;
/// Connections served at a time on the Unix socket; monitors among them stay.
const UNIX_CONNECTIONS: usize = 256;
/// The same on the TCP address, which is open to more people.
const TCP_CONNECTIONS: usize = 64;
/// A client that takes longer to ask, or to ask again on a connection that it keeps, is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client on the TCP address that takes nothing of its answer for so long is cut off. Not so one on the Unix
/// socket: that may be a command before a pager.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause after an error of `accept` itself, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

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
    /// Something else has its name.
    #[error("{} exists and is no socket: give `socket` in [api] another path", path.display())]
    NoSocket {
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
    tcp: Option<TcpListener>,
    file: SocketFile,
}

impl Listeners {
    /// Opens the sockets that the configuration names.
    pub(crate) async fn open(config: &conf::Api) -> Result<Self, ApiListenError> {
        let (unix, file) = open_unix(&config.socket).await?;
        let tcp = match config.listen {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address).await.map_err(|source| ApiListenError::Tcp { address, source })?,
            ),
        };
        Ok(Self { unix, tcp, file })
    }

    /// Serves until the process ends; the socket's file goes with what is returned.
    pub(crate) fn serve(self, app: Arc<App>) -> SocketFile {
        let reading = reading_routes();
        let writing = Router::new()
            .route("/v1/neighbors/{address}/clear", post(handlers::clear))
            .route("/v1/neighbors/{address}/shutdown", post(handlers::shutdown))
            .route("/v1/neighbors/{address}/enable", post(handlers::enable))
            .route("/v1/neighbors/{address}/graceful-shutdown", post(handlers::graceful_shutdown))
            .route("/v1/graceful-shutdown", post(handlers::graceful_shutdown_all))
            .route("/v1/reload", post(handlers::reload));
        let everything = reading.clone().merge(writing).fallback(unknown).with_state(Arc::clone(&app));
        let unix = self.unix;
        tokio::spawn(serve(async move || Ok(unix.accept().await?.0), everything, UNIX_CONNECTIONS));
        if let Some(tcp) = self.tcp {
            let reading = reading.fallback(read_only).method_not_allowed_fallback(read_only).with_state(app);
            let accept = async move || Ok(Patient::new(tcp.accept().await?.0, PATIENCE));
            tokio::spawn(serve(accept, reading, TCP_CONNECTIONS));
        }
        self.file
    }
}

/// Serves the connections that `accept` brings, so many of them at a time: more wait in the kernel, and
/// whoever is slow to ask loses the connection. Clients of the API must not use up what BGP needs.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut accept: impl AsyncFnMut() -> io::Result<S>,
    routes: Router,
    connections: usize,
) {
    let places = Arc::new(Semaphore::new(connections));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the API");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "API connection");
            }
            drop(place);
        });
    }
}

/// The file of the Unix socket; removed with this.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "cannot remove the API socket");
        }
    }
}

async fn open_unix(path: &Path) -> Result<(UnixListener, SocketFile), ApiListenError> {
    let failed = |source| ApiListenError::Unix { path: path.to_path_buf(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(ApiListenError::NoSocket { path: path.to_path_buf() });
        }
        // A socket that nobody answers on was left by a daemon that was killed.
        if UnixStream::connect(path).await.is_ok() {
            return Err(ApiListenError::InUse { path: path.to_path_buf() });
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_path_buf());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok((listener, file))
}

fn reading_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/summary", get(handlers::summary))
        .route("/v1/neighbors", get(handlers::neighbors))
        .route("/v1/neighbors/{address}", get(handlers::neighbor))
        .route("/v1/neighbors/{address}/history", get(handlers::history))
        .route("/v1/bfd", get(bfd::bfd))
        .route("/v1/routes", get(handlers::routes))
        .route("/v1/explain", get(handlers::explain))
        .route("/v1/fib", get(handlers::fib))
        .route("/v1/fib/diff", get(handlers::fib_diff))
        .route("/v1/nexthops", get(handlers::next_hops))
        .route("/v1/counters", get(handlers::counters))
        .route("/v1/monitor/routes", get(handlers::monitor_routes))
        .route("/v1/monitor/sessions", get(handlers::monitor_sessions))
        .route("/metrics", get(handlers::metrics))
}

const NO_SUCH_PATH: &str = "no such path; the API's paths are listed in the README";

async fn unknown() -> Refusal {
    Refusal::not_found(NO_SUCH_PATH)
}

/// What the address of `[api] listen` does not answer.
async fn read_only(method: Method) -> Refusal {
    if method == Method::GET || method == Method::HEAD {
        Refusal::not_found(NO_SUCH_PATH)
    } else {
        let reason = format!("{method} is not answered here: this address is read-only, use the Unix socket");
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason)
    }
}

/// A request that is refused: an HTTP status and a JSON body that says why.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
    details: Vec<String>,
}

impl Refusal {
    fn new(status: StatusCode, reason: String) -> Self {
        Self { status, reason, details: Vec::new() }
    }

    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason.into())
    }

    /// What was asked for cannot be done with what is there; `details` say what is wrong with it.
    pub(crate) fn unusable(reason: &impl std::error::Error, details: Vec<String>) -> Self {
        Self { details, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason.to_string()) }
    }

    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason.into())
    }

    pub(crate) fn unavailable(reason: &impl std::error::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
    }
}

impl From<crate::routing::RibStopped> for Refusal {
    fn from(stopped: crate::routing::RibStopped) -> Self {
        Self::unavailable(&stopped)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(ApiError { error: self.reason, details: self.details })).into_response()
    }
}

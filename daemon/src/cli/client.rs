//! The HTTP client of the command line: one request over the daemon's Unix socket.
//!
//! Answers are either read whole (`fetch`) or handed on a line at a time as they arrive (`lines`), so
//! that a full table passes through without being held in memory.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::api::types::ApiError;

/// Why a command could not be answered.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nothing answers on the socket.
    #[error("cannot reach the daemon on {}: {source}; is `peregrine run` running, and with this socket in [api]?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket is there, but not for this user.
    #[error("no permission for {}: run as root or as a member of the socket's group", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke during the exchange.
    #[error("the daemon on the socket broke off the answer: {0}")]
    Http(#[from] hyper::Error),
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
    /// The daemon refused what it was given, and says all that is wrong with it.
    #[error("{reason}")]
    Unusable {
        /// In short.
        reason: String,
        /// A line each.
        details: Vec<String>,
    },
    /// The answer is not what this version of the command understands.
    #[error("cannot read the daemon's answer ({0}); do command and daemon have the same version?")]
    Answer(#[from] serde_json::Error),
    /// The output is gone (a closed pipe).
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// A daemon that is reached through its Unix socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::Permission { path: self.socket.clone() },
            _ => ClientError::Connect { path: self.socket.clone(), source },
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "peregrine")
            .body(Full::new(body))
            .map_err(|e| ClientError::Refused(format!("cannot build the request {path}: {e}")))?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Err(match serde_json::from_slice(&body) {
            Ok(ApiError { error: reason, details }) if !details.is_empty() => {
                ClientError::Unusable { reason, details }
            }
            Ok(ApiError { error, .. }) => ClientError::Refused(error),
            Err(_) => ClientError::Refused(format!("the daemon answered {status}")),
        })
    }

    /// One request, its whole JSON answer.
    pub async fn fetch<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        self.exchange(method, path, Bytes::new()).await
    }

    /// One `POST` with a text; what was done, in words.
    pub async fn post(&self, path: &str, text: String) -> Result<String, ClientError> {
        let answer: serde_json::Value = self.exchange(Method::POST, path, text.into()).await?;
        Ok(answer.get("done").and_then(serde_json::Value::as_str).unwrap_or("done").to_owned())
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let body = self.request(method, path, body).await?.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    /// One `GET` whose answer is read line by line; `each` returns false to stop early.
    pub async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        let mut body = self.request(Method::GET, path, Bytes::new()).await?.into_body();
        let mut partial = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            let mut rest: &[u8] = &data;
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                partial.extend_from_slice(&rest[..end]);
                if !partial.is_empty() && !each(&partial)? {
                    return Ok(());
                }
                partial.clear();
                rest = &rest[end + 1..];
            }
            partial.extend_from_slice(rest);
        }
        if !partial.is_empty() {
            each(&partial)?;
        }
        Ok(())
    }
}

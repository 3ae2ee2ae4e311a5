//! What an operator and the configuration have a session do.

use std::time::Instant;

use bgp::session::{ConnId, State, StopReason};

use super::{Task, session_config, socket_options};
use crate::session::Configuration;
use crate::session::local::{link_to, marked};

const SHUT_DOWN_BY_CONFIGURATION: &str =
    "the configuration shuts it down: take `shutdown` out of it and reload";

impl Task {
    pub(super) fn configure(
        &mut self,
        now: Instant,
        Configuration { config, neighbor, reset }: Configuration,
    ) {
        if reset || neighbor != self.neighbor {
            self.history.note("configuration", if reset { "changed, resets the session" } else { "changed" });
        }
        let was_shut_down = self.neighbor.shutdown;
        if neighbor.password != self.neighbor.password {
            for connection in &self.connections {
                if let Err(error) = connection.set_password(neighbor.password.as_ref()) {
                    tracing::warn!(neighbor = %neighbor.name(), %error, "cannot change the password");
                }
            }
        }
        self.options = socket_options(&config, &neighbor);
        let (on_link, restart) = (self.on_link.as_ref(), self.following.restart());
        self.session.reconfigure(now, session_config(self.id, &config, &neighbor, on_link, restart));
        self.config = config;
        self.neighbor = neighbor;
        if let Some(limits) = self.limits.as_mut().filter(|_| !reset) {
            limits.change(&self.neighbor.limits);
        }
        let lifted = self.exceeded.is_some_and(|exceeded| exceeded.is_lifted(&self.neighbor.limits));
        if self.neighbor.shutdown {
            if !was_shut_down {
                self.session.stop(now, &StopReason::Shutdown(String::new()));
            }
        } else if was_shut_down && self.shut_down.is_none() {
            self.session.start(now);
        } else if lifted && self.shut_down.is_none() && self.session.state() == State::Idle {
            tracing::info!(neighbor = %self.neighbor.name(), "session starts: the limit that ended it is another one");
            self.history.note("start", "the limit that ended the session is another one");
            self.session.start(now);
        } else if reset {
            self.session.stop(now, &StopReason::ConfigurationChange);
        }
        self.follow_bfd();
    }

    /// Marks routes as about to go, or no more.
    pub(in crate::session) fn leave(&mut self, leaving: bool) {
        if std::mem::replace(&mut self.leaving, leaving) != leaving {
            tracing::info!(neighbor = %self.neighbor.name(), on = leaving, "graceful shutdown");
            self.history.note("graceful-shutdown", if leaving { "begun by the operator" } else { "undone" });
        }
    }

    pub(super) fn reset(&mut self, now: Instant) -> Result<(), String> {
        if self.neighbor.shutdown {
            return Err(SHUT_DOWN_BY_CONFIGURATION.into());
        }
        if self.shut_down.is_some() {
            return Err(format!("it is shut down: `peregrine enable {}` lets it up", self.neighbor.name()));
        }
        tracing::info!(neighbor = %self.neighbor.name(), "session reset by the operator");
        let reason = StopReason::Reset(String::new());
        self.history.note("stop", reason.notification().to_string());
        self.session.stop(now, &reason);
        self.serve_outputs();
        Ok(())
    }

    pub(super) fn enable(&mut self, now: Instant) -> Result<(), String> {
        let was_shut_down = self.shut_down.take().is_some();
        if self.neighbor.shutdown {
            return Err(SHUT_DOWN_BY_CONFIGURATION.into());
        }
        if !was_shut_down && !self.session.is_over_limit() {
            return Err("it is not shut down".into());
        }
        tracing::info!(neighbor = %self.neighbor.name(), "session enabled");
        self.history.note("enable", "by the operator");
        self.session.start(now);
        self.follow_bfd();
        Ok(())
    }

    pub(super) fn refresh_in(&mut self) -> Result<(), String> {
        let Some((_, negotiated)) = self.session.established() else {
            return Err(format!("the session is not Established but {}", self.session.state()));
        };
        if !negotiated.route_refresh {
            return Err(
                "it does not offer route refresh (RFC 2918); a reset would send all routes again".into()
            );
        }
        for family in negotiated.families.iter() {
            self.session.request_refresh(family);
        }
        Ok(())
    }

    /// Routes by way of an interface that packets are not forwarded on are of no use.
    pub(super) fn warn_of_link(&self, conn: ConnId) {
        let ports = &self.config.fib.interfaces;
        let connection = self.connections.iter().find(|known| known.id == conn);
        if let Some(connection) = connection.filter(|_| !ports.is_empty())
            && let Some(interface) = link_to(self.neighbor.address, marked(connection.local))
            && !ports.contains(&interface)
        {
            tracing::warn!(
                neighbor = %self.neighbor.name(),
                interface,
                "the interface is not in [fib] interfaces: nothing is forwarded there, and routes by way of it are not used"
            );
        }
    }
}

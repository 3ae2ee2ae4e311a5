//! The task of one neighbour: drives the session state machine with sockets, clock and the RIB.
//!
//! One loop waits for everything at once and never for one thing alone. Two rules keep the session alive
//! whatever the routes do. What is meant for the RIB waits in `outbox` and then, for its turn among all
//! sessions, in `sending`; while it waits nothing more is read, so that TCP slows the neighbour down. And a hold timer does not expire while octets of
//! the neighbour are waiting in the socket: then it is we who are slow, not the neighbour who is silent.

mod orders;
mod restart;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bgp::rib::PeerSession;
use bgp::rib::out::GroupConfig;
use bgp::session::{ConnId, Negotiated, Output, Session, StaleRoutes, State, StopReason};
use bgp::types::{Family, FamilySet, PeerId};
use bgp::wire::notification::codes;
use bgp::wire::{self, Message, Notification, RouteRefresh};
use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::connection::{Connection, READ_CHUNK, Ready, is_control, whole};
use super::detection::Detection;
use super::discovery::Found;
use super::exports::{Exports, Routes};
use super::history::History;
use super::ids::Lease;
use super::limits::{Exceeded, Limits};
use super::local::{destination, marked};
use super::refresh::Next;
use super::seldom::Seldom;
use super::settings::{session_config, socket_options};
use super::socket::{SocketOptions, connect, reset};
use super::stale::StaleClock;
use super::syn::Incoming;
use super::unnumbered::OnLink;
use super::{Command, Rooms, dynamic, report};
use crate::bfd::Status;
use crate::monitor::{Monitor, unix_time};
use crate::routing::{Input, PeerUp, RibHandle, RibStopped, UpdateBatch};
use restart::Following;

/// Octets handled in one turn of the loop, so that timers and commands get theirs.
const TURN: usize = 1024 * 1024;

/// A part of this size or less is copied out of the read buffer: else a short UPDATE that waits for the RIB
/// would hold on to all of the buffer.
const COPIED: usize = READ_CHUNK / 2;

/// Octets that are kept of a message that could not be read.
const MALFORMED_KEPT: usize = wire::MAX_MESSAGE;

/// Why there is no session, as far as it was logged: kinds of failures, and they stay few.
const MOST_FAILURES: usize = 8;

/// A message that could not be read, which ended the session.
pub(super) struct Malformed {
    pub(super) at: Instant,
    pub(super) reason: String,
    /// Its octets, as far as they are kept.
    pub(super) message: Bytes,
}

/// Connections that were not taken.
#[derive(Default)]
struct Refused {
    count: u64,
    log: Seldom,
}

/// What is being told to the RIB.
struct Sending {
    /// It is void when the session ends.
    of_session: bool,
    told: Pin<Box<dyn Future<Output = Result<(), RibStopped>> + Send>>,
}

pub(super) struct Task {
    pub(super) id: PeerId,
    pub(super) config: Arc<conf::Config>,
    pub(super) neighbor: conf::Neighbor,
    pub(super) session: Session,
    /// Who is on the link of a neighbour that is named by it alone.
    pub(super) on_link: Option<OnLink>,
    pub(super) detection: Detection,
    rib: RibHandle,
    monitor: Monitor,
    options: SocketOptions,
    pub(super) connections: Vec<Connection>,
    /// Connections that were closed, and are about to deliver what was said last.
    farewells: Vec<JoinHandle<()>>,
    pub(super) connecting: JoinSet<(ConnId, io::Result<TcpStream>)>,
    outbox: VecDeque<Input>,
    /// Kept from turn to turn, as is its place among those who wait.
    sending: Option<Sending>,
    exports: Option<(ConnId, Exports)>,
    /// Of the present session.
    limits: Option<Limits>,
    /// The limit that ended the last session, if one did.
    exceeded: Option<Exceeded>,
    last_down: Option<String>,
    stale: Arc<StaleClock>,
    was_connected: bool,
    too_far: Refused,
    pub(super) history: History,
    /// When the last error was that the history knows.
    noted_error: Option<Instant>,
    /// Why no session came up since the last one; what the log says already.
    failures: Vec<String>,
    /// The last message that could not be read.
    malformed: Option<Malformed>,
    /// An operator keeps the session down, with this text for the other one.
    pub(super) shut_down: Option<String>,
    /// An operator is about to shut the session down, and routes are to go elsewhere before (RFC 8326).
    leaving: bool,
    pub(super) following: Following,
    /// Who waits for what another configuration means for the RIB.
    configured: Vec<oneshot::Sender<Option<(PeerSession, GroupConfig)>>>,
    /// Who waits for the end of the task.
    removed: Option<oneshot::Sender<()>>,
    /// Given back when the task ends; then the RIB has heard that the session has.
    _lease: Lease,
}

/// What one turn of the loop was woken by.
enum Event {
    Command(Option<Command>),
    Connected(ConnId, io::Result<TcpStream>),
    Socket(usize, Ready),
    Timeout,
    Routes(Option<Routes>),
    Sent(Result<(), RibStopped>),
    Limits,
    Found(Found),
    Detection(Status),
    RestartOver,
}

impl Task {
    pub(super) fn new(
        id: Lease,
        config: &Arc<conf::Config>,
        neighbor: conf::Neighbor,
        stale: Arc<StaleClock>,
        Rooms { rib, monitor, bfd, restart }: Rooms,
    ) -> Self {
        let on_link = neighbor.unnumbered().map(OnLink::new);
        let settings = session_config(id.id(), config, &neighbor, on_link.as_ref(), &restart);
        let expected = restart.expect(neighbor.address);
        Self {
            on_link,
            config: Arc::clone(config),
            session: Session::new(settings, Instant::now()),
            detection: Detection::new(bfd),
            rib,
            monitor,
            options: socket_options(config, &neighbor),
            connections: Vec::new(),
            farewells: Vec::new(),
            connecting: JoinSet::new(),
            outbox: VecDeque::new(),
            sending: None,
            exports: None,
            limits: None,
            exceeded: None,
            last_down: None,
            stale,
            was_connected: false,
            too_far: Refused::default(),
            history: History::default(),
            noted_error: None,
            failures: Vec::new(),
            malformed: None,
            shut_down: None,
            leaving: false,
            following: Following::new(restart, expected),
            configured: Vec::new(),
            removed: None,
            id: id.id(),
            _lease: id,
            neighbor,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        if self.neighbor.shutdown {
            self.session.stop(Instant::now(), &StopReason::Shutdown(String::new()));
        } else {
            self.begin(Instant::now());
        }
        self.follow_bfd();
        loop {
            self.serve_outputs();
            self.note_error();
            self.note_progress(Instant::now());
            if !self.is_sending() {
                if let Some(done) = self.removed.take() {
                    return answer(done, ());
                }
                if self.is_over() {
                    return;
                }
                // Behind whatever the RIB was told of the session.
                for asked in std::mem::take(&mut self.configured) {
                    answer(asked, self.routing());
                }
            }
            let event = self.next_event(&mut inbox).await;
            let now = Instant::now();
            match event {
                Event::Command(Some(command)) => self.command(now, command),
                Event::Command(None) | Event::Sent(Err(RibStopped)) => return,
                Event::Connected(conn, Ok(stream)) => self.connected(now, conn, stream),
                Event::Connected(conn, Err(error)) => {
                    tracing::debug!(neighbor = %self.neighbor.name(), %error, "connection attempt failed");
                    self.session.tcp_failed(now, conn, &error.to_string());
                }
                Event::Socket(index, Ready::Write) => self.write(now, index),
                Event::Socket(index, Ready::Read) => {
                    self.read(now, index, false);
                    // Sockets come before timers in the selection; a busy one must not starve them.
                    if self.session.poll_timeout().is_some_and(|at| at <= now) {
                        self.timeout(now);
                    }
                }
                Event::Timeout => self.timeout(now),
                Event::Detection(status) => self.detected(now, &status),
                Event::Routes(Some(routes)) => self.send_routes(now, routes),
                // The RIB has let go of this session; its end is on the way.
                Event::Routes(None) => self.exports = None,
                Event::Sent(Ok(())) => self.sending = None,
                Event::Found(found) => self.found(now, found),
                Event::RestartOver => self.restart_over(),
                Event::Limits => {
                    let exceeded = self.limits.as_ref().and_then(|limits| limits.serve(self.neighbor.name()));
                    if let Some(exceeded) = exceeded {
                        self.session.stop(now, &exceeded.reason());
                        self.exceeded = Some(exceeded);
                    }
                }
            }
        }
    }

    async fn next_event(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Event {
        self.start_sending();
        let Self {
            session,
            connections,
            connecting,
            sending,
            exports,
            limits,
            on_link,
            detection,
            following,
            ..
        } = self;
        let reading = sending.is_none();
        let sockets = poll_fn(|cx| {
            for (index, connection) in connections.iter().enumerate() {
                if let Poll::Ready(ready) = connection.poll_ready(reading, cx) {
                    return Poll::Ready((index, ready));
                }
            }
            Poll::Pending
        });
        let timeout = session.poll_timeout();
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let routes = async {
            match exports {
                Some((conn, exports)) if wants_routes(connections, *conn) => {
                    poll_fn(|cx| exports.poll_next(cx)).await
                }
                _ => std::future::pending().await,
            }
        };
        let told = async {
            match sending {
                Some(sending) => sending.told.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let alarmed = async {
            match limits {
                Some(limits) => limits.alarmed().await,
                None => std::future::pending().await,
            }
        };
        let found = async {
            match on_link {
                Some(on_link) => on_link.changed().await,
                None => std::future::pending().await,
            }
        };
        // Reading comes before the timers: what has arrived counts as heard (see `bgp::session`).
        tokio::select! {
            biased;
            command = inbox.recv() => Event::Command(command),
            () = alarmed => Event::Limits,
            found = found => Event::Found(found),
            status = detection.changed() => Event::Detection(status),
            (index, ready) = sockets => Event::Socket(index, ready),
            () = timer => Event::Timeout,
            outcome = told => Event::Sent(outcome),
            () = following.over() => Event::RestartOver,
            Some(Ok((conn, outcome))) = connecting.join_next() => Event::Connected(conn, outcome),
            routes = routes => Event::Routes(routes),
        }
    }

    /// Tells the RIB what is next.
    fn start_sending(&mut self) {
        if self.sending.is_none()
            && let Some(input) = self.outbox.pop_front()
        {
            let of_session = !outlives_session(&input);
            self.sending = Some(Sending { of_session, told: Box::pin(self.rib.send(input)) });
        }
    }

    /// Whether something waits for the RIB.
    fn is_sending(&self) -> bool {
        self.sending.is_some() || !self.outbox.is_empty()
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Incoming(incoming) => self.incoming(now, incoming),
            Command::Stop(reason, done) => {
                self.following.is_leaving |= reason == StopReason::Restart;
                self.history.note("stop", reason.notification().to_string());
                self.session.stop(now, &reason);
                self.serve_outputs();
                // The daemon may end when it is answered.
                let farewells = std::mem::take(&mut self.farewells);
                tokio::spawn(async move {
                    futures::future::join_all(farewells).await;
                    answer(done, ());
                });
            }
            Command::Reset(done) => answer(done, self.reset(now)),
            Command::Configure(configuration, reply) => {
                self.configure(now, *configuration);
                self.configured.push(reply);
            }
            Command::Remove(reason, done) => {
                self.session.stop(now, &reason);
                self.removed = Some(done);
            }
            Command::ShutDown(text, done) => {
                tracing::info!(neighbor = %self.neighbor.name(), %text, "session shut down");
                let reason = StopReason::Shutdown(text.clone());
                self.history.note("shutdown", reason.notification().to_string());
                self.session.stop(now, &reason);
                self.shut_down = Some(text);
                self.follow_bfd();
                answer(done, ());
            }
            Command::Leave(leaving, reply) => {
                self.leave(leaving);
                self.configured.push(reply);
            }
            Command::Enable(done) => answer(done, self.enable(now)),
            Command::RefreshIn(done) => {
                tracing::info!(neighbor = %self.neighbor.name(), "the operator has routes asked for again");
                self.history.note("refresh", "asked for the neighbor's routes again");
                answer(done, self.refresh_in());
            }
            Command::RefreshOut(done) => {
                tracing::info!(neighbor = %self.neighbor.name(), "the operator has our routes sent again");
                self.history.note("refresh", "our routes are sent again");
                let families = self.session.established().map(|(_, negotiated)| negotiated.families);
                for family in families.into_iter().flat_map(FamilySet::iter) {
                    self.refresh_out(family);
                }
                let down = || format!("the session is not Established but {}", self.session.state());
                answer(done, families.map(drop).ok_or_else(down));
            }
            Command::Report(reply) => answer(reply, self.report(now)),
            Command::History(reply) => answer(reply, self.history.events()),
        }
    }

    /// A dynamic neighbour is one while it is connected, kept away for a while or by an operator, or has stale
    /// routes.
    fn is_over(&self) -> bool {
        let is_away = match self.session.state() {
            State::Active => true,
            State::Idle => self.neighbor.shutdown,
            _ => false,
        };
        self.neighbor.range.is_some()
            && self.was_connected
            && self.shut_down.is_none()
            && is_away
            && Family::ALL.into_iter().all(|family| self.session.stale(family).is_none())
    }

    /// Connections that end before the session is up are told by their error alone.
    fn note_error(&mut self) {
        if let Some(error) = self.session.last_error()
            && self.noted_error.is_none_or(|noted| noted != error.at)
        {
            self.noted_error = Some(error.at);
            self.history.note("error", &error.text);
            // A neighbour that is away fails to connect again and again: that is said once.
            if !self.failures.contains(&error.text) {
                tracing::warn!(neighbor = %self.neighbor.name(), reason = %error.text, "no session");
                if self.failures.len() == MOST_FAILURES {
                    self.failures.clear();
                }
                self.failures.push(error.text.clone());
            }
        }
    }

    /// What the RIB is to know of the session while it is up.
    fn routing(&self) -> Option<(PeerSession, GroupConfig)> {
        let (conn, negotiated) = self.session.established()?;
        let connection = self.connections.iter().find(|known| known.id == conn)?;
        let (local, remote) = (marked(connection.local), marked(connection.remote));
        let address = if self.on_link.is_some() { remote } else { self.neighbor.address };
        let limits = self.limits.as_ref()?;
        let (config, neighbor) = (&self.config, &self.neighbor);
        Some(report::routing(self.id, config, neighbor, negotiated, [local, address], limits, self.leaving))
    }

    /// Sends our routes of a family again.
    fn refresh_out(&mut self, family: Family) {
        let Some((conn, exports)) = &mut self.exports else { return };
        let Next { marks, refresh, .. } = exports.request(family);
        self.session.refresh_marks_sent(marks.len() as u64);
        if let Some(connection) = self.connections.iter_mut().find(|known| known.id == *conn) {
            for mark in marks {
                connection.push_routes(mark);
            }
        }
        self.outbox.extend(refresh.map(|family| Input::Refresh(self.id, family)));
    }

    fn incoming(&mut self, now: Instant, incoming: Incoming) {
        let distance = incoming.check_distance(self.options.minimum_ttl);
        let stream = incoming.stream;
        if let Ok(local) = stream.local_addr()
            && !self.options.is_local(local.ip())
        {
            tracing::info!(neighbor = %self.neighbor.name(), %local, "connection to another address refused");
            let mut stream = stream;
            let refusal = Notification::cease(codes::cease::CONNECTION_REJECTED);
            drop(tokio::spawn(async move { dynamic::refuse(&mut stream, &refusal).await }));
            return;
        }
        if let Err(why) = distance {
            self.too_far.count += 1;
            self.history.note("refused", format!("connection from too far away: {why}"));
            if let Some(unsaid) = self.too_far.log.say() {
                tracing::warn!(neighbor = %self.neighbor.name(), %why, unsaid = (unsaid > 0).then_some(unsaid), "connection from too far away refused");
            }
            return reset(stream);
        }
        self.was_connected = true;
        let conn = self.session.accept(now);
        if let Err(error) = self.options.apply(&stream) {
            tracing::warn!(neighbor = %self.neighbor.name(), %error, "cannot set the options of a connection");
        }
        self.adopt(now, conn, stream);
    }

    fn connected(&mut self, now: Instant, conn: ConnId, stream: TcpStream) {
        if !self.session.has_connection(conn) {
            return;
        }
        if self.adopt(now, conn, stream) {
            self.session.tcp_connected(now, conn);
        }
    }

    fn adopt(&mut self, now: Instant, conn: ConnId, stream: TcpStream) -> bool {
        match Connection::new(conn, stream) {
            Ok(connection) => {
                self.connections.push(connection);
                true
            }
            Err(error) => {
                self.session.tcp_closed(now, conn, &error.to_string());
                false
            }
        }
    }

    /// Does what the session wants done.
    fn serve_outputs(&mut self) {
        let mut kept_changed = false;
        while let Some(output) = self.session.poll_output() {
            kept_changed |= matches!(output, Output::Up(..) | Output::Down(..) | Output::Stale(_));
            match output {
                Output::Connect(conn) => self.start_connecting(conn),
                Output::Send(conn, message) => {
                    if let Some(connection) = self.connections.iter_mut().find(|known| known.id == conn) {
                        connection.push_control(message);
                    }
                }
                Output::Close(conn) => {
                    if let Some(index) = self.connections.iter().position(|known| known.id == conn) {
                        self.farewells.retain(|farewell| !farewell.is_finished());
                        self.farewells.push(self.connections.swap_remove(index).close());
                    }
                }
                Output::Up(conn, negotiated) => self.up(conn, &negotiated),
                Output::Down(reason, kept) => self.down(reason.to_string(), kept),
                Output::Stale(routes) => {
                    if let StaleRoutes::Mark(family) = routes {
                        let text = format!("the neighbor begins to send its {family} routes again");
                        self.history.note("refresh", text);
                    }
                    let (family, what) = match routes {
                        StaleRoutes::Mark(family) => (family, "routes are stale until they are sent again"),
                        StaleRoutes::Drop(family) => (family, "routes that are still stale are dropped"),
                        StaleRoutes::LongLived(family) => {
                            (family, "stale routes are the last choice from now on")
                        }
                    };
                    tracing::info!(neighbor = %self.neighbor.name(), %family, "{what}");
                    self.outbox.push_back(Input::Stale(self.id, routes));
                }
                Output::RouteRefresh(family) => {
                    self.history.note("refresh", format!("the neighbor asks for our {family} routes again"));
                    self.refresh_out(family);
                }
                Output::StateChanged { from, to } => self.state_changed(from, to),
            }
        }
        if kept_changed {
            self.stale.set(Family::ALL.map(|family| self.session.stale(family)));
        }
        // A connection that broke is not named by any output.
        let session = &self.session;
        self.connections.retain(|connection| session.has_connection(connection.id));
    }

    fn start_connecting(&mut self, conn: ConnId) {
        let address = self.on_link.as_mut().map_or(Ok(self.neighbor.address), |link| link.dial(conn));
        let remote = address.and_then(|address| destination(address, self.neighbor.port));
        let options = self.options.clone();
        self.connecting.spawn(async move {
            match remote {
                Ok(remote) => (conn, connect(remote, options).await),
                Err(error) => (conn, Err(error)),
            }
        });
    }

    fn up(&mut self, conn: ConnId, negotiated: &Negotiated) {
        self.follow_bfd();
        self.detection.trust();
        self.following.up();
        self.limits = Some(Limits::new(&self.neighbor.limits));
        self.exceeded = None;
        self.failures.clear();
        let Some((session, export)) = self.routing() else { return };
        if negotiated.hold_time.is_zero()
            && let Some(connection) = self.connections.iter().find(|known| known.id == conn)
            && let Err(error) = connection.keep_alive()
        {
            tracing::warn!(neighbor = %self.neighbor.name(), %error, "cannot turn on TCP keepalives");
        }
        self.warn_of_link(conn);
        let (updates, exports) = Exports::new(self.rib.shards(), negotiated.enhanced_refresh());
        self.outbox.push_back(Input::Up(Box::new(PeerUp { session, export, updates })));
        self.exports = Some((conn, exports));
        self.history.note(
            "established",
            format!("AS {}, router id {}", negotiated.peer_asn, negotiated.peer_router_id),
        );
        tracing::info!(
            neighbor = %self.neighbor.name(),
            asn = %negotiated.peer_asn,
            router_id = %negotiated.peer_router_id,
            hold_time = %negotiated.hold_time,
            "session established"
        );
    }

    fn down(&mut self, reason: String, kept: FamilySet) {
        let names: Vec<&str> = kept.iter().map(Family::as_str).collect();
        let kept_routes = (!kept.is_empty()).then(|| names.join(", "));
        tracing::warn!(neighbor = %self.neighbor.name(), %reason, kept_routes, "session down");
        self.history.note("down", &reason);
        self.noted_error = self.session.last_error().map(|error| error.at);
        self.exports = None;
        if self.following.is_leaving {
            // Packets go by its routes until another run has learned them.
            return;
        }
        if kept.is_empty() {
            // Updates that the RIB has not taken yet are void with the session.
            self.sending.take_if(|sending| sending.of_session);
            self.outbox.retain(outlives_session);
        }
        self.outbox.push_back(Input::Down(self.id, kept));
        self.limits = None;
        self.last_down = Some(reason);
    }

    fn state_changed(&mut self, from: State, to: State) {
        tracing::debug!(neighbor = %self.neighbor.name(), %from, %to, "session state");
        let down = from == State::Established;
        self.monitor.sessions.publish(&json!({
            "time": unix_time(),
            "neighbor": self.neighbor.name(),
            "asn": report::asn(&self.neighbor, &self.session),
            "from": from.as_str(),
            "to": to.as_str(),
            "reason": self.last_down.as_ref().filter(|_| down),
        }));
    }

    fn timeout(&mut self, now: Instant) {
        for connection in &self.connections {
            if connection.has_unread() {
                self.session.heard(now, connection.id);
            }
        }
        self.session.handle_timeout(now);
    }

    fn write(&mut self, now: Instant, index: usize) {
        let connection = &mut self.connections[index];
        let conn = connection.id;
        match connection.write() {
            Ok(0) => {}
            Ok(_) => self.session.wrote(now, conn),
            Err(error) => {
                // What the neighbor said before is still there, and may tell why it takes nothing any more.
                self.read(now, index, true);
                self.session.tcp_closed(now, conn, &format!("writing failed: {error}"));
            }
        }
    }

    fn send_routes(&mut self, now: Instant, Routes { shard, messages, refresh }: Routes) {
        self.rib.drained(shard);
        let Some((conn, _)) = self.exports else { return };
        let Some(connection) = self.connections.iter_mut().find(|known| known.id == conn) else { return };
        let (mut count, mut marks) = (0, 0);
        for piece in messages {
            // Marks of a refresh come by themselves.
            *(if is_control(&piece) { &mut marks } else { &mut count }) += report::messages_in(&piece);
            connection.push_routes(piece);
        }
        self.session.updates_sent(now, conn, count);
        self.session.refresh_marks_sent(marks);
        self.outbox.extend(refresh.map(|family| Input::Refresh(self.id, family)));
    }

    /// Reads what is there for one turn: as long as nothing waits for the RIB, or whatever waits when it is `last`.
    fn read(&mut self, now: Instant, index: usize, last: bool) {
        let mut handled = 0;
        let Some(conn) = self.connections.get(index).map(|connection| connection.id) else { return };
        while handled < TURN && (last || !self.is_sending()) {
            let Some(connection) = self.connections.iter_mut().find(|known| known.id == conn) else { return };
            match if last { connection.read_last() } else { connection.read() } {
                Ok(0) => return self.session.tcp_closed(now, conn, "closed by the neighbor"),
                Ok(count) => handled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.session.tcp_closed(now, conn, &format!("reading failed: {error}")),
            }
            while self.messages(now, conn) {
                self.serve_outputs();
            }
            self.serve_outputs();
        }
    }

    /// Handles the whole messages that have arrived; UPDATEs of an Established session leave as one
    /// batch that shares their bytes.
    ///
    /// True when it stopped behind the message that established the session, or one that begins a refresh: the
    /// RIB must hear of that before it gets UPDATEs that came in the same segment.
    fn messages(&mut self, now: Instant, conn: ConnId) -> bool {
        let Self { session, connections, outbox, id, malformed, following, .. } = self;
        let Some(connection) = connections.iter_mut().find(|known| known.id == conn) else { return false };
        let mut stopped = false;
        let received = &connection.received[..];
        let mut updates = Vec::new();
        let mut start = 0;
        while session.has_connection(conn) {
            // The context may change with each message.
            let context = session.decode_context(conn);
            let rest = &received[start..];
            let message = match wire::frame_len(rest, context.max_message()) {
                Ok(None) => break,
                Ok(Some(len)) => match rest.get(..len) {
                    // The rest of the message is on its way.
                    None => break,
                    Some(frame) => wire::decode(frame, &context).map(|message| (message, len)),
                },
                Err(error) => Err(error),
            };
            match message {
                Ok((message, len)) => {
                    let was_up = session.is_established_on(conn);
                    session.handle_message(now, conn, &message);
                    if let Message::Update(update) = &message
                        && session.is_established_on(conn)
                    {
                        updates.push((start as u32, (start + len) as u32, update.layout()));
                    }
                    start += len;
                    let begins = matches!(&message, Message::RouteRefresh(refresh)
                        if refresh.subtype == RouteRefresh::BEGIN);
                    stopped = begins || !was_up && session.is_established_on(conn);
                    if stopped {
                        break;
                    }
                }
                Err(error) => {
                    let octets = &rest[..rest.len().min(MALFORMED_KEPT)];
                    let message = Bytes::copy_from_slice(whole(octets));
                    *malformed = Some(Malformed { at: now, reason: error.reason.clone(), message });
                    session.handle_protocol_error(now, conn, &error);
                    break;
                }
            }
        }
        let bytes = if start <= COPIED {
            let copy = Bytes::copy_from_slice(&connection.received[..start]);
            connection.received.advance(start);
            copy
        } else {
            connection.received.split_to(start).freeze()
        };
        if !updates.is_empty() && session.is_established_on(conn) {
            following.hears(now);
            outbox.push_back(Input::Updates(*id, UpdateBatch { bytes, updates, arrived: now }));
        }
        stopped
    }

    fn report(&self, now: Instant) -> crate::api::types::NeighborDetail {
        let established = self.session.established().map(|(conn, _)| conn);
        let ends = self
            .connections
            .iter()
            .find(|known| Some(known.id) == established)
            .map(|connection| (connection.local, connection.remote));
        let (malformed, limits) = (self.malformed.as_ref(), self.limits.as_ref());
        let mut detail = report::neighbor(
            &self.neighbor,
            &self.session,
            self.shut_down.as_deref(),
            malformed,
            now,
            ends,
            limits,
        );
        let reflector_cluster = report::reflector_cluster(&self.config.router, &self.neighbor);
        detail.brief.graceful_shutdown = self.leaving;
        let (refused_too_far, bfd) = (self.too_far.count, self.detection.shown());
        if let Some(on_link) = &self.on_link {
            detail.brief.on_link = Some(on_link.report(ends.map(|(_, remote)| remote)));
        }
        detail.restart_waits_for = self.following.waits_for();
        crate::api::types::NeighborDetail { reflector_cluster, refused_too_far, bfd, ..detail }
    }
}

fn wants_routes(connections: &[Connection], conn: ConnId) -> bool {
    connections.iter().any(|connection| connection.id == conn && connection.wants_routes())
}

/// Whether the RIB must be told also when the session has ended meanwhile.
fn outlives_session(input: &Input) -> bool {
    matches!(input, Input::Up(_) | Input::Down(..) | Input::Stale(..))
}

/// Whoever asked may have gone away.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}

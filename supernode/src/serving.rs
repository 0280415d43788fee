//! Running: the data plane in the role of a supernode, and its status on a socket.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::get};
use farlan::{
    api::{Answer, SCHEMA, Server, finish},
    cli::client::check_socket,
    daemon::speaks_version,
    failure::Failure,
    logs::{self, LogFilter},
    notify::Notifier,
    shell::{DataPlane, Request, StreamListener, Underlay, UnderlayOffloads},
    signals::{Asked, Signals},
};
use farlan_crypto::Work;
use farlan_engine::{Config, Event, Role};
use farlan_netconf::World;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock, controller,
    directory::{self, Directory},
    world,
};

/// Name of the status socket in the state directory.
pub(crate) const SOCKET: &str = "status.sock";

/// How the supernode is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The version of this document.
    pub(crate) schema: u32,
    /// Its id.
    pub(crate) node_id: String,
    /// The world it serves.
    pub(crate) world: String,
    /// The version of that world's list.
    pub(crate) version: u32,
    /// The UDP port.
    pub(crate) port: u16,
    /// Where streams over TCP are taken.
    #[serde(default)]
    pub(crate) tcp: Vec<String>,
    /// Whole seconds since it started.
    pub(crate) uptime_s: u64,
    /// Registered nodes.
    pub(crate) registrations: usize,
    /// Lists with at least one entry: of the members of a network, or of the subscribers to a channel.
    pub(crate) subscriptions: usize,
    /// IPv4 claims held.
    pub(crate) claims: usize,
    /// Documents of private networks that are kept.
    #[serde(default)]
    pub(crate) documents: usize,
    /// Bytes that they take.
    #[serde(default)]
    pub(crate) document_bytes: usize,
    /// The socket of the controller of private networks beside it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) controller: Option<String>,
    /// Why that one does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) controller_trouble: Option<String>,
    /// What happened to packets since the start, by name.
    pub(crate) counters: BTreeMap<String, u64>,
}

/// What never changes while it runs, and the ways to what does.
#[derive(Clone, Debug)]
struct Serving {
    node_id: String,
    served: watch::Receiver<World>,
    port: u16,
    tcp: Vec<String>,
    started: Instant,
    data_plane: DataPlane,
    controller: Option<String>,
    controller_trouble: watch::Receiver<Option<String>>,
}

/// The socket at which a supernode is reached.
///
/// # Errors
/// The port is taken or not permitted.
pub(crate) fn underlay(directory: &Directory) -> Result<Underlay, Failure> {
    let offloads = directory.config().offloads;
    let mut underlay = listen(directory.config().port)?.with_offloads(UnderlayOffloads {
        segment: offloads.send,
        coalesce: offloads.receive,
    });
    if let Some(port) = directory.config().second_port()
        && let Err(error) = underlay.bind_second(port)
    {
        tracing::warn!(port, %error, "no second UDP port: nodes learn less of how their NATs behave");
    }
    let listeners = directory
        .config()
        .tcp
        .0
        .iter()
        .filter_map(|address| take_streams(*address));
    Ok(listeners.fold(underlay, Underlay::with_listener))
}

/// Listens for streams. Where that cannot be, the supernode is of use all the same.
fn take_streams(address: SocketAddr) -> Option<StreamListener> {
    match StreamListener::bind(address) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!("{}", no_streams(address, &error));
            None
        }
    }
}

/// What follows from a TCP port that cannot be had, and what to do about it.
fn no_streams(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!("is in use; stop the program that has it (ss -ltnp 'sport = :{port}')"),
        io::ErrorKind::PermissionDenied => "is not permitted to this user; run it as root or with the capability \
            CAP_NET_BIND_SERVICE, as its systemd unit does"
            .to_owned(),
        _ => format!("cannot be opened: {error}"),
    };
    format!(
        "nodes whose UDP is blocked do not reach this supernode: TCP port {port} {reason}. Or name another one in supernode.toml, \
         tcp = \"[::]:8443\", and to the nodes: farlan-supernode world address HOST:9600 tcp/HOST:8443. Without TCP: tcp = \"none\""
    )
}

/// Runs until SIGTERM, SIGINT or the end of the data plane. At SIGHUP it reads the configuration again; `log` of the
/// command line goes before what stands there.
///
/// # Errors
/// The status socket cannot be made; the data plane ended by itself.
pub(crate) async fn run(
    directory: Directory,
    underlay: Underlay,
    controller: Option<controller::Held>,
    log: Option<LogFilter>,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let socket = directory.path().join(SOCKET);
    check_socket(&socket)?;
    let port = underlay.port().map_err(Failure::negative)?;
    let tcp = underlay.takes_streams_at().map_err(Failure::negative)?;
    let tcp = tcp.iter().map(ToString::to_string).collect();
    let path = directory.path().to_owned();
    let (served, current) = watch::channel(directory.world().clone());
    let mut in_force = directory.config().clone();
    let limits = directory.config().limits.limits();
    let key = directory.key();
    // The directory stays locked as long as this runs.
    let (_state, identity) = directory.into_parts();
    let node_id = identity.node_id().to_string();
    let config = Config {
        identity,
        work: Work::REQUIRED,
        role: Role::Supernode,
        limits,
    };
    let (data_plane, mut events) = DataPlane::start(config, underlay)?;
    let (trouble, controller_trouble) = watch::channel(None);
    let serving = Serving {
        node_id,
        served: current,
        port,
        tcp,
        started: Instant::now(),
        data_plane: data_plane.clone(),
        controller: controller
            .is_some()
            .then(|| controller::socket(&path).display().to_string()),
        controller_trouble,
    };
    let server = Server::start(&socket, router(serving.clone()))?;
    tracing::info!(node = %serving.node_id, port, "the supernode is up");
    // Its database takes its time, and nobody who looks for the supernode waits for that.
    let mut controller = controller.map(|held| held.accompany(served.borrow().clone(), key, port, trouble));
    let notifier = Notifier::from_environment();
    notifier.ready();
    let mut callers = Callers::default();
    let mut told = pin!(clock::follow(&data_plane, clock::LOOK_EVERY));
    let mut followed = pin!(world::follow(&path, &data_plane, &mut events, &served, |event| callers.look_at(event)));
    let ended = loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break Ok(()),
                Asked::Reload => {
                    notifier.reloading();
                    reload(&path, &mut in_force, log.as_ref());
                    notifier.ready();
                }
            },
            ended = &mut followed => break ended.map_err(Failure::from),
            ended = &mut told => break ended.map_err(Failure::from),
            () = ended(controller.as_mut()) => break Err(Failure::negative("the controller beside the supernode has ended")),
        }
    };
    notifier.stopping();
    tracing::info!("stopping");
    drop(server);
    if let Some(controller) = controller {
        controller.stop().await;
    }
    let goodbye = data_plane.ask(|reply| Request::Shutdown { reply });
    if tokio::time::timeout(STOPPING, goodbye).await.is_err() {
        tracing::warn!("stopping took too long; ending at once");
    }
    ended
}

/// Waits for the end of the controller, if there is one.
async fn ended(controller: Option<&mut controller::Company>) {
    match controller {
        Some(controller) => controller.ended().await,
        None => std::future::pending().await,
    }
}

/// Reads the configuration again. One that cannot be read changes nothing.
fn reload(path: &Path, in_force: &mut directory::Config, log: Option<&LogFilter>) {
    let config = match directory::config(path) {
        Ok(config) => config,
        Err(failure) => {
            tracing::error!("the configuration is not reloaded, and the old one stays in force: {failure}");
            return;
        }
    };
    if config.port != in_force.port {
        tracing::warn!("the port cannot change while the supernode runs; it takes effect at the next start");
    }
    if config.tcp != in_force.tcp {
        tracing::warn!(
            "where streams are taken cannot change while the supernode runs; it takes effect at the next start"
        );
    }
    if config.offloads != in_force.offloads {
        tracing::warn!(
            "what is said of offloads cannot change while the supernode runs; it takes effect at the next start"
        );
    }
    if config.controller != in_force.controller {
        tracing::warn!("the controller cannot change while the supernode runs; it takes effect at the next start");
    }
    logs::change(log.unwrap_or(&config.log));
    if config.limits != in_force.limits {
        tracing::warn!("the limits cannot change while the supernode runs; they take effect at the next start");
    }
    // Ports, offloads and limits stay those in use, so that a difference is named each time.
    in_force.log = config.log;
    tracing::info!("the configuration is reloaded");
}

/// The other versions of the protocol in which nodes call.
#[derive(Debug, Default)]
struct Callers(BTreeMap<u8, Instant>);

impl Callers {
    /// Says once an hour which other versions nodes speak.
    fn look_at(&mut self, event: &Event) {
        let Event::OtherVersion { version, .. } = event else {
            return;
        };
        let lately = self.0.get(version).is_some_and(|said| said.elapsed() < SAID_AGAIN);
        if !lately {
            self.0.insert(*version, Instant::now());
            tracing::warn!("{}", speaks_version("a node that calls this supernode", *version));
        }
    }
}

/// How often the same other version is mentioned; there may be many nodes of it.
const SAID_AGAIN: Duration = Duration::from_secs(3600);

/// Binds the port of the configuration, or says what to do about one that cannot be had.
fn listen(port: u16) -> Result<Underlay, Failure> {
    Underlay::bind(port).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::negative(format_args!(
            "UDP port {port} is in use; stop the program that has it (ss -lunp): nodes look for this supernode there"
        )),
        io::ErrorKind::PermissionDenied => Failure::permission(format_args!(
            "UDP port {port} is not permitted to this user; run as root, or make the supernode with a port above 1023"
        )),
        _ => Failure::negative(format_args!("cannot open UDP port {port}: {error}")),
    })
}

fn router(serving: Serving) -> Router {
    finish(Router::new().route("/v1/status", get(status)).with_state(serving))
}

async fn status(State(serving): State<Serving>) -> Answer<Status> {
    let snapshot = serving.data_plane.snapshot().await?;
    let (world, version) = {
        let served = serving.served.borrow();
        (served.id().to_string(), served.version())
    };
    let counters = snapshot.counters.iter().chain(snapshot.shell.iter());
    Ok(Json(Status {
        schema: SCHEMA,
        node_id: serving.node_id,
        world,
        version,
        port: serving.port,
        tcp: serving.tcp,
        uptime_s: serving.started.elapsed().as_secs(),
        registrations: snapshot.anchor.registrations,
        subscriptions: snapshot.anchor.subscriptions,
        claims: snapshot.anchor.claims,
        documents: snapshot.anchor.documents,
        document_bytes: snapshot.anchor.document_bytes,
        controller: serving.controller,
        controller_trouble: serving.controller_trouble.borrow().clone(),
        counters: counters.map(|(name, value)| (name.to_owned(), value)).collect(),
    }))
}

/// How long saying goodbye may take, after a controller beside the supernode took as long at most; whoever sent the signal expects the
/// end soon.
const STOPPING: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use farlan::{cli::client::Client, shell::Snapshot};
    use farlan_crypto::{Identity, random::SystemRandom};
    use farlan_engine::AnchorStatus;
    use farlan_netconf::Supernode;

    use super::*;

    #[tokio::test]
    async fn a_taken_port_has_a_remedy_of_the_supernode() {
        let first = listen(0).unwrap();
        let failure = listen(first.port().unwrap()).unwrap_err();
        assert!(failure.message.contains("is in use"), "{failure}");
        assert!(!failure.message.contains("--port"), "{failure}");
    }

    #[tokio::test]
    async fn a_tcp_port_that_is_taken_is_said_with_a_remedy_and_the_rest_goes_on() {
        let first = StreamListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = first.address().unwrap();
        let error = StreamListener::bind(address).unwrap_err();
        let said = no_streams(address, &error);
        assert!(said.contains("is in use") && said.contains("ss -ltnp"), "{said}");
        assert!(take_streams(address).is_none());
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let said = no_streams(address, &denied);
        assert!(
            said.contains("CAP_NET_BIND_SERVICE") && said.contains("tcp = \"none\""),
            "{said}"
        );
    }

    #[tokio::test]
    async fn the_status_comes_from_the_data_plane() {
        let directory = tempfile::tempdir().unwrap();
        let (data_plane, mut requests) = DataPlane::channel();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                if let Request::Snapshot { reply } = request {
                    let anchor = AnchorStatus {
                        registrations: 3,
                        subscriptions: 2,
                        claims: 1,
                        documents: 4,
                        document_bytes: 4096,
                    };
                    reply
                        .send(Snapshot {
                            anchor,
                            ..Snapshot::default()
                        })
                        .unwrap();
                }
            }
        });
        let operator = Identity::generate(&mut SystemRandom::from_os().unwrap(), Work::NONE);
        let supernode = Supernode {
            key: operator.public(),
            endpoints: vec!["192.0.2.1:9600".parse().unwrap()],
        };
        let (trouble, controller_trouble) = watch::channel(None);
        let (served, _) = watch::channel(World::sign(&operator, 4, vec![supernode.clone()]).unwrap());
        let serving = Serving {
            node_id: "n".into(),
            served: served.subscribe(),
            port: 9600,
            tcp: vec!["[::]:443".into()],
            started: Instant::now(),
            data_plane,
            controller: None,
            controller_trouble,
        };
        let path = directory.path().join(SOCKET);
        let _server = Server::start(&path, router(serving)).unwrap();
        let status: Status = Client::new(&path).get("/v1/status").await.unwrap();
        assert_eq!((status.registrations, status.subscriptions, status.claims), (3, 2, 1));
        assert_eq!((status.documents, status.document_bytes), (4, 4096));
        assert_eq!(status.counters.get("relayed"), Some(&0));
        assert_eq!((status.version, status.controller_trouble), (4, None));
        trouble.send_replace(Some("damaged".into()));
        served.send_replace(World::sign(&operator, 5, vec![supernode]).unwrap());
        let status: Status = Client::new(&path).get("/v1/status").await.unwrap();
        assert_eq!(status.version, 5);
        assert_eq!(status.controller_trouble.as_deref(), Some("damaged"));
    }
}

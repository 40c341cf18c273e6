//! Where one lane's request and the servers that it meets come together: the script in force, and what was seen.
//!
//! A lane has one request at a time, and nodes, origins and a platform of its own; so whatever one of its servers sees
//! belongs to the request that is under way, even where no id came along.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};
use tokio_util::task::TaskTracker;

use super::{
    plan::{Deed, Manner, Plan},
    tally::Tally,
};

/// A call that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// Which of the lane's nodes.
    pub node: usize,
    pub manner: Manner,
}

#[derive(Debug)]
struct Scene {
    id: usize,
    manners: VecDeque<Manner>,
    deed: Deed,
    dials: Vec<Dial>,
}

pub struct Stage {
    scene: Mutex<Scene>,
    pub tally: Arc<Tally>,
    /// Connections that are served.
    pub tasks: TaskTracker,
    /// Counts what was seen.
    moves: watch::Sender<usize>,
}

impl Stage {
    pub fn new(tally: Arc<Tally>, tasks: TaskTracker) -> Arc<Self> {
        let scene = Scene { id: 0, manners: VecDeque::new(), deed: Deed::Silence, dials: Vec::new() };
        Arc::new(Self { scene: Mutex::new(scene), tally, tasks, moves: watch::Sender::new(0) })
    }

    /// The next request begins. What is seen from now on is its own.
    pub fn begin(&self, id: usize, plan: &Plan) {
        let manners = plan.dials.iter().copied().collect();
        *self.scene.lock().unwrap() = Scene { id, manners, deed: plan.deed, dials: Vec::new() };
        self.moves.send_replace(0);
    }

    /// The calls that were taken for the request.
    pub fn dials(&self) -> Vec<Dial> {
        std::mem::take(&mut self.scene.lock().unwrap().dials)
    }

    /// Waits until anybody has seen anything of the request.
    pub async fn noticed(&self) {
        let _ = self.moves.subscribe().wait_for(|moves| *moves > 0).await;
    }

    /// A call was taken; what is to become of it?
    pub fn dial(&self, node: usize) -> Manner {
        let mut scene = self.scene.lock().unwrap();
        let manner = scene.manners.pop_front().unwrap_or(Manner::Good);
        scene.dials.push(Dial { node, manner });
        drop(scene);
        self.moves.send_modify(|moves| *moves += 1);
        manner
    }

    /// What the origin is to do about the request that is under way.
    pub fn deed(&self) -> Deed {
        self.scene.lock().unwrap().deed
    }

    /// The request that is under way.
    pub fn id(&self) -> usize {
        self.scene.lock().unwrap().id
    }

    /// An origin has read a head.
    pub fn delivered(&self, id: usize) {
        self.tally.delivered(id);
        self.moves.send_modify(|moves| *moves += 1);
    }
}

/// A listening port of a lane.
pub struct Door {
    pub address: SocketAddr,
    knocks: Arc<Mutex<HashSet<u16>>>,
}

impl Door {
    /// Each connection gets a task that is waited for at the end.
    pub async fn open<F, Fut>(tasks: TaskTracker, serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let knocks: Arc<Mutex<HashSet<u16>>> = Arc::default();
        let known = Arc::clone(&knocks);
        tokio::spawn(async move {
            while let Ok((connection, peer)) = listener.accept().await {
                if known.lock().unwrap().remove(&peer.port()) {
                    continue;
                }
                let _ = connection.set_nodelay(true);
                tasks.spawn(serve(connection));
            }
        });
        Self { address, knocks }
    }

    /// Returns when everything that came before now was taken: calls are taken in their order.
    pub async fn settle(&self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        self.knocks.lock().unwrap().insert(socket.local_addr().unwrap().port());
        let mut knock = socket.connect(self.address).await.unwrap();
        let _ = knock.read(&mut [0]).await;
    }
}

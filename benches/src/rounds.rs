//! Rounds: each of resin's stands between two of HAProxy's, so that the machine's moods fall on both.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Outcome,
    counts::{self, Whose},
    peers::{Kind, Peer, World, resin},
    results::{Figures, MEASURE, Slot, WorkResult},
    works::{Bench, Task, Work},
};

/// So many units are done for a count of system calls.
const COUNTED: u64 = 4_000;
const CLIENTS: usize = 32;
/// The others have a place in each third round: it is resin that has to be told from noise.
const OTHERS: usize = 3;

/// A change of many nodes is over, in the database as well.
const AFTER_A_CHANGE: Duration = Duration::from_secs(2);

/// The proxies of a run, as they are called, running or with the reason why not.
pub struct Fleet {
    members: Vec<Member>,
}

struct Member {
    name: String,
    kind: Kind,
    peer: Result<Peer, String>,
}

impl Member {
    /// HAProxy with its log differs in nothing but time.
    fn is_for(&self, task: Task) -> bool {
        let only_for_time = self.kind == (Kind::Haproxy { log: true }) && task.is_fresh();
        !only_for_time && self.peer.as_ref().map_or(true, |peer| task.is_for(peer))
    }
}

impl Fleet {
    pub async fn start(world: &World, wanted: Vec<(String, Kind)>) -> Self {
        let mut members = Vec::new();
        for (name, kind) in wanted {
            let peer = kind.start(world).await.map_err(|error| error.to_string());
            if let Err(reason) = &peer {
                eprintln!("{name} is missing: {reason}");
            }
            members.push(Member { name, kind, peer });
        }
        Self { members }
    }

    pub fn versions(&self) -> BTreeMap<String, String> {
        let running = self.members.iter().filter_map(|member| Some((member, member.peer.as_ref().ok()?)));
        running.map(|(member, peer)| (member.name.clone(), peer.version.clone())).collect()
    }

    /// The measure before and after each of ours, the others behind; at the very end the measure again.
    fn order(&self, task: Task, rounds: usize) -> Vec<(usize, &Member)> {
        let all = || self.members.iter().filter(|member| member.is_for(task));
        let measure = all().find(|member| member.name == MEASURE);
        let mut order = Vec::new();
        for round in 0..rounds {
            for ours in all().filter(|member| member.kind.is_ours()) {
                order.extend(measure.map(|measure| (round, measure)));
                order.push((round, ours));
            }
            let others = all().filter(|member| !member.kind.is_ours() && member.name != MEASURE);
            let others: Vec<_> =
                others.filter(|_| round % OTHERS == 0).map(|member| (round, member)).collect();
            if !others.is_empty() {
                order.extend(measure.map(|measure| (round, measure)));
                order.extend(others);
            }
        }
        order.extend(measure.map(|measure| (rounds, measure)));
        order
    }

    /// Does a work so many times with everybody; who fails once is left out from there on.
    pub async fn run(&self, bench: &Bench<'_>, work: &Work, rounds: usize) -> WorkResult {
        let mut result = WorkResult {
            name: work.name.to_owned(),
            title: work.title.to_owned(),
            unit: work.unit.to_owned(),
            main: work.main.to_owned(),
            slots: Vec::new(),
            calls: BTreeMap::new(),
            allocations: Figures::new(),
            missing: BTreeMap::new(),
        };
        let order = match rounds.min(work.rounds) {
            // Memory has no moods.
            1 if work.task.is_fresh() => self
                .members
                .iter()
                .filter(|member| member.is_for(work.task))
                .map(|member| (0, member))
                .collect(),
            rounds => self.order(work.task, rounds),
        };
        for (round, member) in order {
            if result.missing.contains_key(&member.name) {
                continue;
            }
            match self.slot(bench, work, member, round).await {
                Ok(figures) => result.slots.push(Slot { peer: member.name.clone(), round, figures }),
                Err(reason) => {
                    result.missing.insert(member.name.clone(), reason.to_string());
                }
            }
        }
        result
    }

    async fn slot(&self, bench: &Bench<'_>, work: &Work, member: &Member, round: usize) -> Outcome<Figures> {
        let peer = member.peer.as_ref().map_err(Clone::clone)?;
        if let (Task::Tunnels { way: crate::peers::Way::Nodes(size), .. }, 0) = (work.task, round) {
            resin::add_pool(peer, bench.world, size).await?;
            tokio::time::sleep(AFTER_A_CHANGE).await;
        }
        bench.measure(work, &member.kind, peer).await
    }

    /// What a unit takes of system calls, with everybody.
    pub async fn count_calls(&self, bench: &Bench<'_>, work: &Work, result: &mut WorkResult) {
        for member in self.members.iter().filter(|member| member.is_for(work.task)) {
            let Ok(peer) = &member.peer else { continue };
            match counts::calls(bench, work.task, peer, Whose::All, (COUNTED, CLIENTS)).await {
                Ok(calls) => {
                    result.calls.insert(member.name.clone(), calls);
                }
                Err(reason) => {
                    result.missing.insert(format!("{}, system calls", member.name), reason.to_string());
                }
            }
        }
    }
}

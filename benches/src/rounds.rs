//! Rounds: each of resin's stands between two of HAProxy's, so that the machine's moods fall on both.

use std::collections::BTreeMap;

use crate::{
    peers::{Kind, Peer, World},
    results::{MEASURE, Slot, WorkResult},
    works::{Bench, Work},
};

/// The proxies of a run, as they are called, running or with the reason why not.
pub struct Fleet {
    members: Vec<Member>,
}

struct Member {
    name: String,
    ours: bool,
    peer: Result<Peer, String>,
}

impl Fleet {
    pub async fn start(world: &World, wanted: Vec<(String, Kind)>) -> Self {
        let mut members = Vec::new();
        for (name, kind) in wanted {
            let ours = matches!(kind, Kind::Resin { .. });
            let peer = kind.start(world).await.map_err(|error| error.to_string());
            if let Err(reason) = &peer {
                eprintln!("{name} is missing: {reason}");
            }
            members.push(Member { name, ours, peer });
        }
        Self { members }
    }

    pub fn versions(&self) -> BTreeMap<String, String> {
        let running = self.members.iter().filter_map(|member| Some((member, member.peer.as_ref().ok()?)));
        running.map(|(member, peer)| (member.name.clone(), peer.version.clone())).collect()
    }

    fn named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// One round: the measure before and after each of ours, the others behind; at the very end the measure again.
    fn order(&self, rounds: usize) -> Vec<(usize, &Member)> {
        let measure = self.named(MEASURE);
        let mut order = Vec::new();
        for round in 0..rounds {
            for ours in self.members.iter().filter(|member| member.ours) {
                order.extend(measure.map(|measure| (round, measure)));
                order.push((round, ours));
            }
            let others = self.members.iter().filter(|member| !member.ours && member.name != MEASURE);
            let others: Vec<_> = others.map(|member| (round, member)).collect();
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
            missing: BTreeMap::new(),
        };
        for (round, member) in self.order(rounds) {
            if result.missing.contains_key(&member.name) {
                continue;
            }
            let figures = match &member.peer {
                Err(reason) => Err(reason.clone()),
                Ok(peer) => bench.measure(work.task, peer).await.map_err(|error| error.to_string()),
            };
            match figures {
                Ok(figures) => result.slots.push(Slot { peer: member.name.clone(), round, figures }),
                Err(reason) => {
                    result.missing.insert(member.name.clone(), reason);
                }
            }
        }
        result
    }
}

//! What a run has found: kept as JSON, and what is reckoned from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::Spread;

/// Changes with the form of the file.
pub const SCHEMA: u32 = 1;
/// The one that all others are compared with.
pub const MEASURE: &str = "haproxy";

/// Figures of one slot, by name: `cpu_us`, `user_us`, `system_us`, `rate`, `dials`, …
pub type Figures = BTreeMap<String, f64>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub schema: u32,
    pub machine: Machine,
    /// Of each peer.
    pub versions: BTreeMap<String, String>,
    /// Which of the peers are resin.
    pub ours: Vec<String>,
    pub works: Vec<WorkResult>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_mib: u64,
    /// `git describe` of the tree.
    pub tree: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkResult {
    pub name: String,
    pub title: String,
    pub unit: String,
    /// The figure that is compared.
    pub main: String,
    /// In the order in which they ran.
    pub slots: Vec<Slot>,
    /// System calls per unit, of each peer, by name.
    #[serde(default)]
    pub calls: BTreeMap<String, Figures>,
    /// Allocations per unit, of each of ours.
    #[serde(default)]
    pub allocations: Figures,
    /// Peers that could not do it, and why.
    pub missing: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slot {
    pub peer: String,
    pub round: usize,
    pub figures: Figures,
}

impl WorkResult {
    /// Who did it, in the order in which they first did.
    pub fn peers(&self) -> Vec<&str> {
        let mut peers: Vec<&str> = Vec::new();
        for slot in &self.slots {
            if !peers.contains(&slot.peer.as_str()) {
                peers.push(&slot.peer);
            }
        }
        peers
    }

    /// The names of all its figures, the main one first.
    pub fn figures(&self) -> Vec<&str> {
        let mut names = vec![self.main.as_str()];
        for name in self.slots.iter().flat_map(|slot| slot.figures.keys()) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    pub fn spread(&self, peer: &str, figure: &str) -> Option<Spread> {
        let slots = self.slots.iter().filter(|slot| slot.peer == peer);
        Spread::of(slots.filter_map(|slot| slot.figures.get(figure).copied()).collect())
    }

    /// A peer's main figure to the mean of those that the measure had just before and just after, slot by slot.
    pub fn ratios(&self, peer: &str) -> Vec<f64> {
        let figure = |slot: &Slot| slot.figures.get(&self.main).copied();
        let measured = |slot: &&Slot| slot.peer == MEASURE;
        let mut ratios = Vec::new();
        for (place, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.peer == peer) {
            let before = self.slots[..place].iter().rev().find(measured).and_then(figure);
            let after = self.slots[place + 1..].iter().find(measured).and_then(figure);
            let beside: Vec<f64> = before.into_iter().chain(after).collect();
            if let (Some(value), false) = (figure(slot), beside.is_empty()) {
                ratios.push(value * beside.len() as f64 / beside.iter().sum::<f64>());
            }
        }
        ratios
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(slots: &[(&str, f64)]) -> WorkResult {
        let slots = slots.iter().enumerate().map(|(round, (peer, value))| Slot {
            peer: (*peer).to_owned(),
            round,
            figures: Figures::from([("cpu_us".to_owned(), *value)]),
        });
        WorkResult {
            name: "work".to_owned(),
            title: "a work".to_owned(),
            unit: "request".to_owned(),
            main: "cpu_us".to_owned(),
            slots: slots.collect(),
            calls: BTreeMap::new(),
            allocations: Figures::new(),
            missing: BTreeMap::new(),
        }
    }

    #[test]
    fn a_ratio_is_to_the_mean_of_its_two_neighbours() {
        let work = work(&[
            ("haproxy", 10.0),
            ("resin", 18.0),
            ("haproxy", 20.0),
            ("squid", 60.0),
            ("haproxy", 40.0),
        ]);
        assert_eq!(work.ratios("resin"), [1.2]);
        assert_eq!(work.ratios("squid"), [2.0]);
        assert_eq!(work.peers(), ["haproxy", "resin", "squid"]);
    }

    #[test]
    fn there_is_no_ratio_without_a_measure() {
        assert_eq!(work(&[("resin", 18.0)]).ratios("resin"), Vec::<f64>::new());
    }
}

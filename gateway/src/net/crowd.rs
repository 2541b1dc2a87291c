//! How many connections there may be, all together and of one source.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// What connections are counted against.
#[derive(Clone, Debug)]
pub struct Cap {
    pub all: usize,
    /// Of one source.
    pub share: usize,
    /// Sources that may have them all.
    pub whole: Vec<IpNet>,
}

/// Who is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// This source has its share.
    Source,
    All,
}

pub struct Crowd {
    cap: Cap,
    of: HashMap<IpAddr, usize>,
    all: usize,
}

impl Crowd {
    pub fn new(cap: Cap) -> Crowd {
        Crowd { cap, of: HashMap::new(), all: 0 }
    }

    pub fn count(&self) -> usize {
        self.all
    }

    pub fn cap(&self) -> usize {
        self.cap.all
    }

    /// Whether one more of this source is one too many.
    pub fn full(&self, source: IpAddr) -> Option<Full> {
        let source = source.to_canonical();
        if self.of.get(&source).is_some_and(|&n| n >= self.places(source, Full::Source)) {
            return Some(Full::Source);
        }
        (self.all >= self.cap.all).then_some(Full::All)
    }

    /// How many there may be, of this source or of all.
    pub fn places(&self, source: IpAddr, of: Full) -> usize {
        let source = source.to_canonical();
        match of {
            Full::Source if !self.cap.whole.iter().any(|n| n.contains(&source)) => self.cap.share,
            Full::Source | Full::All => self.cap.all,
        }
    }

    pub fn enter(&mut self, source: IpAddr) {
        *self.of.entry(source.to_canonical()).or_default() += 1;
        self.all += 1;
    }

    pub fn leave(&mut self, source: IpAddr) {
        let source = source.to_canonical();
        let left = self.of.get_mut(&source).map(|n| {
            *n -= 1;
            *n
        });
        if left == Some(0) {
            self.of.remove(&source);
        }
        self.all -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_a_named_one_all() {
        let whole = vec!["10.0.0.0/8".parse().expect("a network")];
        let mut crowd = Crowd::new(Cap { all: 4, share: 2, whole });
        let (stranger, named) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([10, 0, 0, 1]));
        assert_eq!([stranger, named].map(|source| crowd.places(source, Full::Source)), [2, 4]);
        assert_eq!(crowd.places(stranger, Full::All), 4);
        crowd.enter(stranger);
        crowd.enter(stranger);
        assert_eq!(crowd.full(stranger), Some(Full::Source));
        assert_eq!(crowd.full(named), None);
        crowd.enter(named);
        crowd.enter(named);
        assert_eq!(crowd.full(named), Some(Full::All));
        crowd.leave(named);
        assert_eq!(crowd.full(stranger), Some(Full::Source));
        crowd.leave(stranger);
        assert_eq!((crowd.full(stranger), crowd.count()), (None, 2));
    }
}

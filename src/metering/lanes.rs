//! Which requests are written next, and by whom: pure rules of the intake.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use accrue_core::id::TenantId;

/// Events for which a transaction is worth its cost while another one is small.
const LARGE: usize = 100;

/// What waits in a lane.
pub(super) trait Load {
    /// An empty request is answered, too: it counts as one.
    fn events(&self) -> usize;
    /// Whose event is the first, if there is one.
    fn customer(&self) -> Option<(TenantId, &str)>;
}

/// Requests that wait, a lane for each writer. Events of one customer change the same rows: two writers would wait for
/// each other, so requests that begin with the same customer wait in the same lane. Whoever sends events of several
/// customers at a time often sends those of the same ones.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    by_writer: Vec<Lane<T>>,
    /// Events that one group takes before it looks for no more.
    events_at_once: usize,
    /// Requests until now.
    brought: u64,
    /// The lane whose few events are being written.
    small: Option<usize>,
}

#[derive(Debug)]
struct Lane<T> {
    /// In the order of arrival, each with its number.
    waiting: VecDeque<(u64, T)>,
    events: usize,
    is_writing: bool,
}

/// What is written together.
pub(super) struct Group<T> {
    pub lane: usize,
    pub requests: Vec<T>,
}

impl<T: Load> Lanes<T> {
    pub fn new(writers: usize, events_at_once: usize) -> Self {
        let lane = || Lane { waiting: VecDeque::new(), events: 0, is_writing: false };
        let by_writer = std::iter::repeat_with(lane).take(writers.max(1)).collect();
        Self { by_writer, events_at_once, brought: 0, small: None }
    }

    /// Into the lane of its customer.
    pub fn push(&mut self, request: T) {
        let lane = self.lane_of(request.customer());
        self.brought += 1;
        let lane = &mut self.by_writer[lane];
        lane.events += request.events();
        lane.waiting.push_back((self.brought, request));
    }

    fn lane_of(&self, customer: Option<(TenantId, &str)>) -> usize {
        let mut hasher = DefaultHasher::new();
        customer.hash(&mut hasher);
        let lane = hasher.finish() % self.by_writer.len() as u64;
        usize::try_from(lane).expect("less than there are lanes")
    }

    /// What is to be written now, if there is anything: of the fullest lane, if it has many events; of few, the first
    /// that came, unless another lane's few are being written.
    pub fn next(&mut self) -> Option<Group<T>> {
        let large = LARGE.min(self.events_at_once);
        let free = || self.by_writer.iter().enumerate().filter(|(_, lane)| !lane.is_writing);
        let (fullest, lane) = free().max_by_key(|(_, lane)| lane.events)?;
        let lane = if lane.events >= large {
            fullest
        } else {
            let first = free().filter_map(|(index, lane)| Some((lane.waiting.front()?.0, index))).min();
            let (_, first) = first.filter(|_| self.small.is_none())?;
            self.small = Some(first);
            first
        };
        let requests = self.by_writer[lane].take(self.events_at_once);
        Some(Group { lane, requests })
    }

    /// A lane's group is written.
    pub fn written(&mut self, lane: usize) {
        self.by_writer[lane].is_writing = false;
        self.small.take_if(|small| *small == lane);
    }
}

impl<T: Load> Lane<T> {
    /// Requests of so many events, and the one that goes beyond.
    fn take(&mut self, events_max: usize) -> Vec<T> {
        let mut events = 0;
        let mut taken = Vec::new();
        while events < events_max
            && let Some((_, request)) = self.waiting.pop_front()
        {
            events += request.events();
            taken.push(request);
        }
        self.events -= events;
        self.is_writing = true;
        taken
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Request {
        customer: String,
        events: usize,
    }

    impl Load for Request {
        fn events(&self) -> usize {
            self.events
        }

        fn customer(&self) -> Option<(TenantId, &str)> {
            Some((TenantId(Uuid::nil()), &self.customer))
        }
    }

    fn lanes(writers: usize) -> Lanes<Request> {
        Lanes::new(writers, 10_000)
    }

    fn of(customer: &str, events: usize) -> Request {
        Request { customer: customer.into(), events }
    }

    /// Requests of so many events, each for a lane of its own.
    fn apart<const N: usize>(lanes: &Lanes<Request>, events: [usize; N]) -> [Request; N] {
        let mut taken = Vec::new();
        events.map(|events| {
            let mut all = (0..).map(|number| of(&format!("customer-{number}"), events));
            let free = |request: &Request| !taken.contains(&lanes.lane_of(request.customer()));
            let request = all.find(free).unwrap();
            taken.push(lanes.lane_of(request.customer()));
            request
        })
    }

    fn events(group: Option<Group<Request>>) -> Vec<usize> {
        group.into_iter().flat_map(|group| group.requests).map(|request| request.events).collect()
    }

    #[test]
    fn a_customers_events_are_never_written_by_two_at_a_time() {
        for writers in 1..9 {
            let mut lanes = lanes(writers);
            lanes.push(of("acme", 1000));
            let first = lanes.next().unwrap();
            lanes.push(of("acme", 1000));
            assert!(lanes.next().is_none(), "{writers} writers");
            lanes.written(first.lane);
            assert_eq!(events(lanes.next()), [1000]);
        }
    }

    #[test]
    fn of_groups_that_are_written_at_a_time_only_one_is_small() {
        let mut lanes = lanes(3);
        let [one, another, many] = apart(&lanes, [99, 99, 100]);
        lanes.push(one);
        lanes.push(another);
        let small = lanes.next().unwrap();
        assert!(lanes.next().is_none(), "a second small group waits");
        lanes.push(many);
        assert_eq!(events(lanes.next()), [100], "many events do not");
        lanes.written(small.lane);
        assert_eq!(events(lanes.next()), [99]);
    }

    #[test]
    fn few_events_are_taken_in_the_order_of_their_coming() {
        let mut lanes = lanes(4);
        for request in apart(&lanes, [3, 2, 1]) {
            lanes.push(request);
        }
        for expected in [3, 2, 1] {
            let group = lanes.next().unwrap();
            lanes.written(group.lane);
            assert_eq!(events(Some(group)), [expected]);
        }
    }

    #[test]
    fn all_that_waits_for_a_writer_is_taken_together_up_to_a_limit() {
        let mut lanes = Lanes::new(1, 10);
        for _ in 0..7 {
            lanes.push(of("acme", 4));
        }
        let first = lanes.next().unwrap();
        lanes.written(first.lane);
        assert_eq!(events(Some(first)), [4, 4, 4], "the one that goes beyond is taken, too");
        assert_eq!(events(lanes.next()), [4, 4, 4]);
        lanes.written(0);
        assert_eq!(events(lanes.next()), [4]);
        lanes.written(0);
        assert!(lanes.next().is_none());
    }
}

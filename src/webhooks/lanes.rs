//! Keeps one slow endpoint from taking every worker of this process: only so many deliveries to one endpoint
//! are under way at a time. It decides nothing about deliveries.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use accrue_core::id::WebhookEndpointId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// A worker waits so long for its turn: an endpoint that answers as it should has ended one by then.
const PATIENCE: Duration = Duration::from_secs(1);

static LANES: LazyLock<Mutex<HashMap<WebhookEndpointId, Arc<Lane>>>> = LazyLock::new(Mutex::default);

struct Lane {
    places: Arc<Semaphore>,
    /// Somebody waited in vain: until a delivery ends nobody else needs to.
    jammed: AtomicBool,
}

/// The right to send to an endpoint. Dropping it lets the next one in.
pub(super) struct Place {
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lane.jammed.store(false, Relaxed);
    }
}

/// A place among the `places_max` of the endpoint, or `None` if it is too slow to get one now.
pub(super) async fn enter(endpoint: WebhookEndpointId, places_max: usize) -> Option<Place> {
    let lane = LANES.lock().expect("unpoisoned").entry(endpoint).or_insert_with(|| new(places_max)).clone();
    let patience = if lane.jammed.load(Relaxed) { Duration::ZERO } else { PATIENCE };
    let Ok(permit) = timeout(patience, lane.places.clone().acquire_owned()).await else {
        lane.jammed.store(true, Relaxed);
        return None;
    };
    Some(Place { _permit: permit.expect("never closed"), lane })
}

fn new(places_max: usize) -> Arc<Lane> {
    Arc::new(Lane { places: Arc::new(Semaphore::new(places_max.max(1))), jammed: AtomicBool::new(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> WebhookEndpointId {
        WebhookEndpointId::new("2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[tokio::test]
    async fn a_slow_endpoint_takes_only_its_places_and_the_others_keep_theirs() {
        let (slow, fast) = (endpoint(), endpoint());
        let places = [enter(slow, 2).await, enter(slow, 2).await];
        assert!(places.iter().all(Option::is_some));
        assert!(enter(slow, 2).await.is_none());
        assert!(enter(fast, 2).await.is_some());

        drop(places);
        assert!(enter(slow, 2).await.is_some());
    }

    #[tokio::test]
    async fn who_comes_to_a_fast_endpoint_waits_for_a_place() {
        let endpoint = endpoint();
        let place = enter(endpoint, 1).await.unwrap();
        let next = tokio::spawn(enter(endpoint, 1));
        tokio::task::yield_now().await;
        drop(place);
        assert!(next.await.unwrap().is_some());
    }
}

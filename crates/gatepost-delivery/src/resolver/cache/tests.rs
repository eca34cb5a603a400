use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Says the number of the call, after a while; calls beyond the good ones fail.
struct Server {
    calls: AtomicUsize,
    good: usize,
    takes: Duration,
}

impl Server {
    fn new(good: usize, takes: Duration) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), good, takes })
    }

    async fn ask(self: Arc<Self>) -> Result<Fresh<usize>, Arc<str>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(self.takes).await;
        if call > self.good {
            return Err("down".into());
        }
        Ok(Fresh::positive(call, Duration::from_mins(5)))
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_at_once_are_one_look_up() {
    let (cache, server) = (Arc::new(Cache::default()), Server::new(9, Duration::from_secs(1)));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (cache, server) = (cache.clone(), server.clone());
        askers.spawn(async move { cache.get("a", server.ask()).await });
    }
    // The first one gives up; the others have their answer all the same.
    let given_up = cache.get("a", server.clone().ask());
    assert!(tokio::time::timeout(Duration::from_millis(1), given_up).await.is_err());
    assert!(askers.join_all().await.into_iter().all(|answer| answer == Ok(1)));
    assert_eq!(server.calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_for_its_time_and_is_then_asked_for_again() {
    let (cache, server) = (Arc::new(Cache::default()), Server::new(9, Duration::ZERO));
    for (after, call) in [(0, 1), (299, 1), (2, 2)] {
        tokio::time::advance(Duration::from_secs(after)).await;
        assert_eq!(cache.get("a", server.clone().ask()).await, Ok(call), "{after}");
    }
    assert_eq!(cache.get("b", server.clone().ask()).await, Ok(3), "names are told apart");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_for_an_hour_and_the_server_has_peace() {
    let (cache, server) = (Arc::new(Cache::default()), Server::new(1, Duration::from_secs(5)));
    assert_eq!(cache.get("a", server.clone().ask()).await, Ok(1));
    tokio::time::advance(Duration::from_mins(5)).await;
    let asked = Instant::now();
    assert_eq!(cache.get("a", server.clone().ask()).await, Ok(1), "stale");
    assert_eq!(asked.elapsed(), STALE_PATIENCE, "nobody waits longer for a new one");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = Instant::now();
    for _ in 0..10 {
        assert_eq!(cache.get("a", server.clone().ask()).await, Ok(1));
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(server.calls.load(Ordering::Relaxed), 2);
    tokio::time::advance(STALE_RECHECK).await;
    let _ = cache.get("a", server.clone().ask()).await;
    assert_eq!(server.calls.load(Ordering::Relaxed), 3, "and then is asked again");
    tokio::time::advance(STALE_MAX).await;
    assert_eq!(cache.get("a", server.clone().ask()).await, Err("down".into()));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_a_moment() {
    let (cache, server) = (Arc::new(Cache::default()), Server::new(0, Duration::ZERO));
    for (after, calls) in [(0, 1), (4, 1), (2, 2)] {
        tokio::time::advance(Duration::from_secs(after)).await;
        assert_eq!(cache.get("a", server.clone().ask()).await, Err("down".into()));
        assert_eq!(server.calls.load(Ordering::Relaxed), calls, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_not_kept_beyond_its_time() {
    let cache = Arc::new(Cache::default());
    let nothing = || async { Ok(Fresh::negative(7, Duration::from_hours(9))) };
    assert_eq!(cache.get("a", nothing()).await, Ok(7));
    tokio::time::advance(NEGATIVE_TTL_MAX).await;
    let down = async { Err("down".into()) };
    assert_eq!(cache.get("a", down).await, Err("down".into()));
}

#[tokio::test(start_paused = true)]
async fn names_that_are_of_no_use_any_more_are_forgotten() {
    let cache = Arc::new(Cache::default());
    for name in 0..100 {
        let answer = async { Ok(Fresh::positive(0, Duration::ZERO)) };
        assert_eq!(cache.get(&name.to_string(), answer).await, Ok(0));
    }
    tokio::time::advance(TTL_MIN + STALE_MAX).await;
    let answer = async { Ok(Fresh::positive(0, Duration::ZERO)) };
    assert_eq!(cache.get("new", answer).await, Ok(0));
    assert_eq!(cache.entries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let (cache, server) = (Arc::new(Cache::default()), Server::new(9, Duration::MAX));
    let asked = Instant::now();
    assert_eq!(cache.get("a", server.ask()).await, Err("no answer in time".into()));
    assert_eq!(asked.elapsed(), LOOKUP_TIMEOUT);
}

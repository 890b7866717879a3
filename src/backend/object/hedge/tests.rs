//! When a second request is sent and what comes of it, by durations that are told and answers that wait for a word.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;

use super::*;
use crate::backend::BackendErrorKind;

const CLASS: Class = Class::Range(3);

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn past(durations: impl IntoIterator<Item = u64>) -> Past {
    let mut past = Past::default();
    durations.into_iter().for_each(|duration| past.learn(CLASS, milliseconds(duration)));
    past
}

#[test]
fn reads_are_compared_with_their_like() {
    let class = Class::of_range;
    assert_eq!((class(0), class(3), class(4), class(15)), (class(1), class(1), class(15), class(4)));
    assert_ne!(class(15), class(16));
    assert_eq!(class(16 << 20), class((64 << 20) - 1));
    let past = past(vec![500; 100]);
    assert_eq!(past.delay(CLASS), Some(milliseconds(500)));
    assert_eq!((past.delay(class(1)), past.delay(Class::Whole(FileType::Pack))), (None, None));
}

#[test]
fn slow_is_what_lies_beyond_the_99th_percentile_of_the_last_reads() {
    assert_eq!(past(1001..1100).delay(CLASS), None, "99 are too few");
    assert_eq!(past(1001..=1100).delay(CLASS), Some(milliseconds(1099)));
    assert_eq!(past((1001..=1200).rev()).delay(CLASS), Some(milliseconds(1198)));
    assert_eq!(past((9001..=9200).chain(1001..=1200)).delay(CLASS), Some(milliseconds(1198)));
    assert_eq!(past([1; 200]).delay(CLASS), Some(FLOOR));
}

#[test]
fn one_read_of_twenty_at_most_is_hedged() {
    let (mut past, now) = (Past::default(), Instant::now());
    assert!(!past.take(CLASS, now));
    for reads in 1..=1000_u32 {
        past.learn(CLASS, milliseconds(1));
        assert_eq!(past.take(CLASS, now), reads % 20 == 0, "{reads}");
        past.running = 0;
    }
    (0..10_000).for_each(|_| past.learn(CLASS, milliseconds(1)));
    let taken = (0..10).filter(|_| std::mem::take(&mut past.running) < AT_ONCE && past.take(CLASS, now));
    assert_eq!(taken.count(), 3, "what is saved has an end");
}

#[test]
fn two_at_once_and_none_while_the_store_rests() {
    let (mut past, now) = (past([1; 200]), Instant::now());
    assert_eq!([(); 3].map(|()| past.take(CLASS, now)), [true, true, false]);
    past.running = 0;
    past.rest_until = Some(now + REST);
    assert!(!past.take(CLASS, now));
    assert!(past.take(CLASS, now + REST));
}

type Answer = Result<&'static str, Failure>;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// An answer that is there when it is asked for the nth time, and is not asked for again.
fn at(mut polls: u32, answer: &Answer) -> impl Future<Output = Answer> {
    let mut answer = Some(answer.clone());
    poll_fn(move |context| {
        polls -= 1;
        context.waker().wake_by_ref();
        if polls > 0 { Poll::Pending } else { Poll::Ready(answer.take().unwrap()) }
    })
}

#[test]
fn the_second_counts_only_if_it_is_the_data() {
    let failure = |cause| Err(Failure::passing(BackendErrorKind::Unreachable, cause));
    let (data, other) = (Ok("first"), Ok("second"));
    let (lost, lost_too) = (failure("first"), failure("second"));
    let [gone, denied] = [BackendErrorKind::NotFound, BackendErrorKind::Denied]
        .map(|kind| Err(Failure::lasting(kind, "stays")));
    for (first, second, answer, won) in [
        ((9, &data), (1, &other), &other, true),
        ((1, &data), (1, &other), &data, false),
        ((5, &data), (9, &other), &data, false),
        ((1, &gone), (9, &other), &gone, false),
        ((1, &lost), (9, &other), &other, true),
        ((1, &lost), (9, &lost_too), &lost, false),
        ((1, &lost), (9, &denied), &lost, false),
        ((9, &data), (1, &lost_too), &data, false),
        ((9, &data), (1, &denied), &data, false),
        ((9, &lost), (1, &lost_too), &lost, false),
        ((9, &gone), (1, &denied), &gone, false),
    ] {
        let ended = run(race(pin!(at(first.0, first.1)), pin!(at(second.0, second.1))));
        assert_eq!(ended, (answer.clone(), won), "{first:?} {second:?}");
    }
}

#[test]
fn a_read_that_hangs_is_dropped_and_not_learnt() {
    let hedge = Hedge::new(Arc::default());
    *hedge.past() = past([1; WINDOW]);
    let (asked, held) = (Cell::new(0), Arc::new(()));
    let ask = || {
        asked.set(asked.get() + 1);
        let (is_second, held) = (asked.get() == 2, Arc::clone(&held));
        async move {
            let answer = if is_second { Ok("second") } else { std::future::pending::<Answer>().await };
            drop(held);
            answer
        }
    };
    let started = Instant::now();
    assert_eq!(run(hedge.read(CLASS, ask)), Ok("second"));
    let took = started.elapsed();
    assert_eq!((asked.get(), hedge.count.sent(), hedge.count.won()), (2, 1, 1));
    assert_eq!((Arc::strong_count(&held), hedge.past().running), (1, 0));
    let learnt = *hedge.past().seen.get(&CLASS).unwrap().durations.back().unwrap();
    assert!(learnt + FLOOR <= took, "{learnt:?} of {took:?}: the time of the second alone");
}

#[test]
fn who_may_not_hedge_waits_for_the_first() {
    let hedge = Hedge::new(Arc::default());
    *hedge.past() = past([1; WINDOW]);
    hedge.rest();
    let slow = || async {
        tokio::time::sleep(FLOOR * 2).await;
        Ok("first")
    };
    assert_eq!(run(hedge.read(CLASS, slow)), Ok("first"));
    assert_eq!(hedge.count.sent(), 0);
}

//! Rounds and turns under servers that answer as they like.

use proptest::prelude::*;

use super::*;

fn called() -> impl Strategy<Value = Called> {
    let wish = prop::option::of(0i64..40 * SECOND);
    prop_oneof![
        4 => Just(Called::Answered),
        2 => wish.clone().prop_map(|wish| Called::Failed { wish }),
        2 => wish.prop_map(|wish| Called::Limited { wish }),
    ]
}

proptest! {
    /// Whatever a server does: no call comes too early or too late, none too often, and every symbol ends once.
    #[test]
    fn a_round_keeps_its_rules(
        symbols in 1usize..12,
        attempts in 1u32..5,
        pause in 0i64..3 * SECOND,
        budget in 1i64..300 * SECOND,
        answers in prop::collection::vec((called(), 0i64..15 * SECOND), 1..400),
    ) {
        let begin = Timestamp(1_000 * SECOND);
        let deadline = begin.plus(budget);
        let mut round = Round::new(symbols, attempts, deadline, Pace::new(pause));
        let mut answers = answers.into_iter().cycle();
        let mut now = begin;
        let (mut free, mut ended) = (begin, vec![0u32; symbols]);
        let mut counted = vec![0u32; symbols];
        loop {
            match round.next(now) {
                Step::Wait(until) => {
                    prop_assert!(until > now && until < deadline);
                    now = until;
                }
                Step::Call(turn) => {
                    prop_assert!(now >= free && now < deadline, "{now} {free} {deadline}");
                    prop_assert_eq!(ended[turn.symbol], 0);
                    let (called, took) = answers.next().unwrap();
                    now = now.plus(took);
                    free = free.max(now.plus(pause));
                    counted[turn.symbol] += u32::from(!matches!(called, Called::Limited { .. }));
                    prop_assert!(counted[turn.symbol] <= attempts);
                    if let Called::Failed { wish: Some(wish) } | Called::Limited { wish: Some(wish) } = called {
                        free = free.max(now.plus(wish));
                    }
                    let again = round.answered(turn, called, now);
                    prop_assert!(again.is_none_or(|at| at >= free));
                    prop_assert!(!(called == Called::Answered && again.is_some()));
                    ended[turn.symbol] += u32::from(again.is_none());
                }
                Step::GiveUp(left) => {
                    left.into_iter().for_each(|symbol| ended[symbol] += 1);
                    prop_assert_eq!(round.next(now), Step::Done);
                }
                Step::Done => break,
            }
        }
        prop_assert!(ended.iter().all(|&times| times == 1), "{ended:?}");
        prop_assert_eq!(round.left(), 0);
    }

    /// Rounds begin at multiples of the interval, never before the last one has ended, and the soonest of those.
    #[test]
    fn rounds_do_not_overlap(first in -9i64..9, interval in 1i64..50, took in prop::collection::vec(0i64..200, 1..20)) {
        let rounds = Rounds::new(Timestamp(first), interval);
        let mut begin = Timestamp(first);
        for took in took {
            let end = begin.plus(took);
            let next = rounds.after(end);
            prop_assert!(next > end && next.0 - end.0 <= interval);
            prop_assert_eq!((next.0 - first) % interval, 0);
            begin = next;
        }
    }
}

fn call(round: &mut Round, now: Timestamp) -> Turn {
    match round.next(now) {
        Step::Call(turn) => turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_symbol_that_fails_goes_behind_the_others_and_waits_longer_each_time() {
    let now = Timestamp(0);
    let mut round = Round::new(2, 3, Timestamp(3600 * SECOND), Pace::new(0));
    let first = call(&mut round, now);
    assert_eq!(round.answered(first, Called::Failed { wish: None }, now), Some(Timestamp(SECOND)));
    let second = call(&mut round, now);
    assert_eq!((first.symbol, second.symbol), (0, 1));
    assert_eq!(round.answered(second, Called::Answered, now), None);
    assert_eq!(round.next(now), Step::Wait(Timestamp(SECOND)));
    let again = call(&mut round, Timestamp(SECOND));
    assert_eq!((again.symbol, again.attempt), (0, 2));
    let at = round.answered(again, Called::Failed { wish: None }, Timestamp(SECOND));
    assert_eq!(at, Some(Timestamp(3 * SECOND)));
    let last = call(&mut round, Timestamp(3 * SECOND));
    assert_eq!(round.answered(last, Called::Failed { wish: None }, Timestamp(3 * SECOND)), None);
    assert_eq!(round.next(Timestamp(3 * SECOND)), Step::Done);
}

#[test]
fn a_server_that_asks_for_a_pause_has_it_for_every_symbol_and_over_rounds() {
    let now = Timestamp(0);
    let deadline = Timestamp(60 * SECOND);
    let mut round = Round::new(3, 3, deadline, Pace::new(0));
    let first = call(&mut round, now);
    round.answered(first, Called::Limited { wish: Some(20 * SECOND) }, now);
    assert_eq!(round.next(now), Step::Wait(Timestamp(20 * SECOND)));
    let second = call(&mut round, Timestamp(20 * SECOND));
    assert_eq!((second.symbol, second.attempt), (1, 1));
    round.answered(second, Called::Limited { wish: Some(90 * SECOND) }, Timestamp(20 * SECOND));
    assert_eq!(round.next(Timestamp(20 * SECOND)), Step::GiveUp(vec![2, 0, 1]));
    let mut next = Round::new(3, 3, Timestamp(600 * SECOND), round.pace());
    assert_eq!(next.next(deadline), Step::Wait(Timestamp(110 * SECOND)));
}

#[test]
fn a_server_that_names_no_pause_gets_a_longer_one_each_time() {
    let mut round = Round::new(1, 1, Timestamp(3600 * SECOND), Pace::new(0));
    let mut now = Timestamp(0);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let turn = call(&mut round, now);
        let at = round.answered(turn, Called::Limited { wish: None }, now).unwrap();
        assert_eq!(at, now.plus(seconds * SECOND));
        now = at;
    }
}

#[test]
fn a_wish_beyond_reason_is_cut_to_a_day() {
    let mut round = Round::new(1, 1, Timestamp(i64::MAX), Pace::new(0));
    let turn = call(&mut round, Timestamp(0));
    let at = round.answered(turn, Called::Limited { wish: Some(i64::MAX) }, Timestamp(0));
    assert_eq!(at, Some(Timestamp(24 * 3600 * SECOND)));
}
